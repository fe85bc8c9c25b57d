"""A real ComfyUI's catalog (trimmed), the graphs that people export, and graphs drawn from the catalog."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from orchestrator.errors import InvalidRequest
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.specs import InputSpec, Kind
from orchestrator.graph.values import links_to

OBJECT_INFO = Path(__file__).parents[2] / "data" / "object_info_small.json"
CHECKPOINT = "v1-5-pruned-emaonly.safetensors"


@pytest.fixture(scope="session")
def object_info() -> dict[str, Any]:
    return json.loads(OBJECT_INFO.read_text())


@pytest.fixture(scope="session")
def catalog(object_info: dict[str, Any]) -> Catalog:
    return Catalog.parse(object_info)


@pytest.fixture
def text_to_image() -> dict[str, Any]:
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "2": {
            "class_type": "CLIPTextEncode",
            "inputs": {"text": "a lighthouse", "clip": ["1", 1]},
            "_meta": {"title": "Prompt"},
        },
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
        "5": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 42, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0],
            },
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "out/pic"}},
    }  # fmt: skip


@pytest.fixture(scope="session")
def refused() -> Callable[..., InvalidRequest]:
    """Calls, and answers the refusal; its message and its pointer are there, as every refusal's."""

    def call(function: Callable[..., Any], *arguments: Any) -> InvalidRequest:
        with pytest.raises(InvalidRequest) as caught:
            function(*arguments)
        assert caught.value.message
        assert isinstance(caught.value.details["pointer"], str)
        return caught.value

    return call


@pytest.fixture(scope="session")
def valid_graphs(catalog: Catalog) -> st.SearchStrategy[dict[str, Any]]:
    """Graphs that ComfyUI would run: every node is wanted by the output node, and filled as its class asks."""
    maker = GraphMaker(catalog)

    @st.composite
    def graphs(draw: st.DrawFn) -> dict[str, Any]:
        graph: dict[str, Any] = {}
        maker.grow(draw, draw(st.sampled_from(maker.outputs)), graph, depth=0)
        return graph

    return graphs()


class GraphMaker:
    """Grows graphs from an output node upwards, towards ever smaller ones the deeper it gets."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._givers: dict[Any, list[tuple[str, int]]] = {}
        self._ranks: dict[str, int] = {}  # how deep the smallest graph below a class is
        for rank in range(12):
            fillable = [
                name
                for name, spec in catalog.classes.items()
                if name not in self._ranks
                and all(self._fillable(spec.inputs.specs[each]) for each in spec.inputs.required)
            ]
            self._ranks.update((name, rank) for name in fillable)
        self.outputs = sorted(name for name in self._ranks if catalog.classes[name].output_node)

    def grow(self, draw: st.DrawFn, name: str, graph: dict[str, Any], depth: int) -> str:
        node_id = draw(st.sampled_from(["", "n", "12:", "a.b"])) + str(len(graph) + 1)
        values: dict[str, Any] = {}
        graph[node_id] = {"class_type": name, "inputs": values}
        inputs = self.catalog.classes[name].inputs
        waiting = list(inputs.specs)
        while waiting:
            for input_name in waiting:
                spec = inputs.given(values).specs[input_name]
                if spec.required or (spec.kind is not Kind.SOCKET and "." not in input_name and draw(st.booleans())):
                    values[input_name] = self._fill(draw, input_name, spec, graph, depth)
            waiting = [each for each in inputs.given(values).required if each not in values]
        return node_id

    def _fill(self, draw: st.DrawFn, name: str, spec: InputSpec, graph: dict[str, Any], depth: int) -> Any:
        if spec.kind not in (Kind.SOCKET, Kind.OTHER):
            return draw(_values(name, spec))
        givers = [(self._ranks[giver], giver, slot) for giver, slot in self._giving(spec) if giver in self._ranks]
        deepest = max(min(givers)[0], 3 - depth)
        giver, slot = draw(st.sampled_from([each[1:] for each in givers if each[0] <= deepest]))
        return [self.grow(draw, giver, graph, depth + 1), slot]

    def _fillable(self, spec: InputSpec) -> bool:
        if spec.kind in (Kind.SOCKET, Kind.OTHER):
            return any(name in self._ranks for name, _ in self._giving(spec))
        return spec.kind is Kind.FILE or spec.options is None or bool(spec.options.values)

    def _giving(self, spec: InputSpec) -> list[tuple[str, int]]:
        """The outputs, as (class, slot), that may be linked to such an input."""
        if spec.type not in self._givers:
            self._givers[spec.type] = [
                (name, slot)
                for name, giver in sorted(self.catalog.classes.items())
                for slot, given in enumerate(giver.outputs)
                if links_to(given, spec.type)
            ]
        return self._givers[spec.type]


def _values(name: str, spec: InputSpec) -> st.SearchStrategy[Any]:
    if name == "filename_prefix":
        return st.sampled_from(["pic", "a/b", "%date%/x", "..hidden", "x.."])
    if spec.kind is Kind.COMBO and spec.options:
        return st.sampled_from(spec.options.values)
    if spec.kind is Kind.FILE:
        return st.just({"__type": "core/ASSET", "info": {"id": "ast_1"}})
    if spec.kind is Kind.INT:
        numbers = st.integers(int(spec.low or 0), int(spec.high or 10))
        return numbers | numbers.map(str) | numbers.map(lambda number: {"__value__": number})
    if spec.kind is Kind.FLOAT:
        return st.floats(max(spec.low or 0.0, -1e6), min(spec.high or 1.0, 1e6))
    if spec.kind is Kind.BOOLEAN:
        return st.booleans()
    return st.text(max_size=20)
