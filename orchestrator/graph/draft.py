"""Drafts the registration of an exported graph: which of its inputs a caller would want to set, under which names.

A draft is a start: it runs as it stands with the graph's own values as defaults, and its author removes what should not
be touched. Inputs that mean the same and hold the same value (a prompt given to base and refiner) become one param.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.domain.workflow import ParamKind
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.loaders import is_model_name, known_folder
from orchestrator.graph.params import SEED_INPUTS
from orchestrator.graph.prompts import Polarity, prompts
from orchestrator.graph.shape import Graph, is_link, label, reachable, title
from orchestrator.graph.specs import InputSpec, Kind

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MAX_SEED = (1 << 53) - 1
_MAX_OPTIONS = 200  # a longer list belongs to a catalog, not into a schema

# Input -> (param, JSON type, least, greatest). The bounds keep a stray request from costing hours; its author may widen
# them to what ComfyUI allows.
_SETTINGS: Mapping[str, tuple[str, str, float, float]] = {
    "width": ("width", "integer", 64, 4096),
    "height": ("height", "integer", 64, 4096),
    "length": ("frames", "integer", 1, 241),
    "batch_size": ("batch_size", "integer", 1, 16),
    "steps": ("steps", "integer", 1, 100),
    "cfg": ("cfg", "number", 0, 30),
    "guidance": ("guidance", "number", 0, 30),
    "denoise": ("denoise", "number", 0, 1),
    "strength_model": ("lora_strength", "number", -4, 4),
    "strength_clip": ("lora_strength", "number", -4, 4),
}
_SIZES = frozenset({"width", "height", "length", "batch_size"})
_CHOICES = {"sampler_name": "sampler", "scheduler": "scheduler"}
_MODELS = {
    "checkpoints": "checkpoint", "diffusion_models": "diffusion_model", "vae": "vae", "loras": "lora",
    "controlnet": "controlnet", "upscale_models": "upscaler",
}  # fmt: skip

_FILES = {
    ("LoadImage", "image"): ParamKind.IMAGE, ("LoadImageMask", "image"): ParamKind.MASK,
    ("LoadImageOutput", "image"): ParamKind.IMAGE, ("LoadAudio", "audio"): ParamKind.AUDIO,
    ("LoadVideo", "file"): ParamKind.VIDEO, ("VHS_LoadVideo", "video"): ParamKind.VIDEO,
    ("VHS_LoadAudioUpload", "audio"): ParamKind.AUDIO, ("LoadLatent", "latent"): ParamKind.FILE,
}  # fmt: skip


@dataclass
class _Param:
    """A param in the making. `same` tells which inputs belong together."""

    base: str
    same: Any
    schema: dict[str, Any]
    kind: ParamKind = ParamKind.VALUE
    required: bool = False
    places: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def draft(
    graph: Graph, catalog: Catalog | None, name: str, graph_file: str, schema_file: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The registration of a parsed graph, ready to be written as YAML, and the schema of its params.

    With a catalog, values are offered as workers have them, and nodes that no output hangs on are left alone.
    """
    named = _named(graph, catalog, _merged(_found(graph, catalog)))
    properties = {param: _described(graph, each) for param, each in named.items()}
    schema: dict[str, Any] = {
        "$schema": _DIALECT,
        "title": f"{name}.params",
        "type": "object",
        "properties": properties,
    }
    if required := [param for param, each in named.items() if each.required]:
        schema["required"] = required
    registration = {
        "name": name,
        "description": "",
        "graph": graph_file,
        "params": schema_file,
        "bind": {param: _binding(each) for param, each in named.items()},
        "pool": "default",
        "timeout_s": 600,
        "retries": 2,
    }
    return registration, schema


def _found(graph: Graph, catalog: Catalog | None) -> Iterator[_Param]:
    """Every input worth a param, the ones that callers set most first."""
    executing = _executing(graph, catalog)
    for (node_id, name), polarity in prompts(graph).items():
        if node_id in executing:
            base = "prompt" if polarity is Polarity.POSITIVE else "negative"
            value = graph[node_id]["inputs"][name]
            yield _Param(base, value, {"type": "string", "default": value}, places=[(node_id, name)])
    for finder in (_file, _seed, _setting, _choice, _model):
        for node_id in graph:
            if node_id in executing:
                specs = _specs(graph[node_id], catalog)
                for name, value in graph[node_id]["inputs"].items():
                    if not is_link(value) and (param := finder(graph, node_id, name, specs.get(name))):
                        param.places.append((node_id, name))
                        yield param


def _executing(graph: Graph, catalog: Catalog | None) -> set[str]:
    if catalog is None:
        return set(graph)
    known = catalog.classes
    return reachable(
        graph, [i for i, node in graph.items() if (spec := known.get(node["class_type"])) and spec.output_node]
    )


def _specs(node: Mapping[str, Any], catalog: Catalog | None) -> Mapping[str, InputSpec]:
    spec = catalog.classes.get(node["class_type"]) if catalog else None
    return spec.inputs.given(node["inputs"]).specs if spec else {}


def _file(graph: Graph, node_id: str, name: str, spec: InputSpec | None) -> _Param | None:
    node = graph[node_id]
    kind = _FILES.get((node["class_type"], name))
    if kind is None and (spec is None or spec.kind is not Kind.FILE):
        return None
    kind = kind or ParamKind.FILE
    if kind is ParamKind.IMAGE and _gives_only(graph, node_id, slot=1):
        kind = ParamKind.MASK
    said = {"type": "string", "description": f"Id of an uploaded {kind} (POST /v1/assets)"}
    return _Param(kind.value, (node_id, name), said, kind, required=True)


def _seed(graph: Graph, node_id: str, name: str, spec: InputSpec | None) -> _Param | None:
    value = graph[node_id]["inputs"][name]
    if name not in SEED_INPUTS or not isinstance(value, int):
        return None
    high = _MAX_SEED if spec is None or spec.high is None else min(_MAX_SEED, int(spec.high))
    return _Param(
        "seed", value, {"type": "integer", "minimum": 0, "maximum": high, "description": "Drawn when left out"}
    )


def _setting(graph: Graph, node_id: str, name: str, spec: InputSpec | None) -> _Param | None:
    inputs = graph[node_id]["inputs"]
    value = inputs[name]
    if name not in _SETTINGS or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if name in _SIZES and not {"width", "height", "batch_size"} <= inputs.keys():
        return None  # the size of something else than what is made
    base, kind, low, high = _SETTINGS[name]
    if kind == "integer" and not isinstance(value, int):
        return None
    if spec is not None:
        low, high = max(low, spec.low or low), min(high, spec.high or high)
    said = {"type": kind, "minimum": min(low, value), "maximum": max(high, value), "default": value}
    return _Param(base, value, said)


def _choice(graph: Graph, node_id: str, name: str, spec: InputSpec | None) -> _Param | None:
    value = graph[node_id]["inputs"][name]
    if name not in _CHOICES or not isinstance(value, str):
        return None
    return _Param(_CHOICES[name], value, _one_of(value, spec))


def _model(graph: Graph, node_id: str, name: str, spec: InputSpec | None) -> _Param | None:
    value = graph[node_id]["inputs"][name]
    folder = spec.folder if spec else known_folder(graph[node_id]["class_type"], name)
    if folder not in _MODELS or not is_model_name(folder, value):
        return None
    return _Param(_MODELS[folder], value, _one_of(value, spec))


def _one_of(value: str, spec: InputSpec | None) -> dict[str, Any]:
    options = list(spec.options.values) if spec and spec.options else []
    if not 0 < len(options) <= _MAX_OPTIONS:
        return {"type": "string", "default": value}
    return {"type": "string", "enum": options if value in options else [value, *options], "default": value}


def _gives_only(graph: Graph, node_id: str, slot: int) -> bool:
    used = {
        value[1]
        for node in graph.values()
        for value in node["inputs"].values()
        if is_link(value) and value[0] == node_id
    }
    return used == {slot}


def _merged(found: Iterator[_Param]) -> list[_Param]:
    """One param for inputs that mean the same and hold the same; an input belongs to the first that claims it."""
    params: dict[tuple[str, Any], _Param] = {}
    taken: set[tuple[str, str]] = set()
    for param in found:
        if param.places[0] not in taken:
            taken.update(param.places)
            same = params.setdefault((param.base, param.same), param)
            if same is not param:
                same.places.extend(param.places)
                same.schema |= _narrower(same.schema, param.schema)
    return list(params.values())


def _narrower(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds and values that both inputs of a param take."""
    narrow: dict[str, Any] = {}
    for bound, pick in (("minimum", max), ("maximum", min)):
        if bound in one and bound in other:
            narrow[bound] = pick(one[bound], other[bound])
    if "enum" in one and "enum" in other:
        narrow["enum"] = [value for value in one["enum"] if value in other["enum"]]
    return narrow


def _named(graph: Graph, catalog: Catalog | None, params: list[_Param]) -> dict[str, _Param]:
    named: dict[str, _Param] = {}
    for param in params:
        own = _own_title(graph, param.places[0][0], catalog)
        named[next(name for name in _names(param, own) if name not in named)] = param
    return named


def _names(param: _Param, own: str | None) -> Iterator[str]:
    """Names for a param, the best first: a file is called by its node's own title, the rest by what it sets."""
    if own and param.kind is not ParamKind.VALUE:
        yield own
    yield param.base
    if own:
        yield own if param.base in own.split("_") else f"{own}_{param.base}"
    yield from (f"{param.base}_{number}" for number in itertools.count(2))


def _own_title(graph: Graph, node_id: str, catalog: Catalog | None) -> str | None:
    """The title that somebody gave the node, as part of a name; None for the one that every such node has."""
    node = graph[node_id]
    given = title(node) or ""
    spec = catalog.classes.get(node["class_type"]) if catalog else None
    plain, usual = _squeezed(given), _squeezed(node["class_type"])
    if (spec and given == spec.title) or plain.startswith(usual) or usual.startswith(plain):
        return None
    return re.sub(r"[^a-z0-9]+", "_", given.lower()).strip("_")[:40].strip("_") or None


def _squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _described(graph: Graph, param: _Param) -> dict[str, Any]:
    places = [f"{name} of {label(graph, node_id)}" for node_id, name in param.places]
    return {"description": ", ".join(places), **param.schema}


def _binding(param: _Param) -> Any:
    places = [f"{node_id}.{name}" for node_id, name in param.places]
    named: str | list[str] = places[0] if len(places) == 1 else places
    if param.kind is ParamKind.VALUE:
        return named
    return {"input" if len(places) == 1 else "inputs": named, "kind": param.kind.value}
