"""What a graph asks of a worker: its node classes, and every model file that it names.

Model files are named by the combos of loaders, by free inputs whose name tells the folder (lists of LoRAs in custom
nodes), and by "embedding:NAME" in prompts. With a catalog, a loader is whatever offers model files, and only nodes that
an output hangs on load any; without one, names alone must tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.loaders import UNKNOWN_FOLDER, is_model_name, known_folder, looks_like_model
from orchestrator.graph.shape import Graph, is_link, is_list, is_object, reachable
from orchestrator.graph.specs import InputSpec, Kind

EMBEDDINGS = "embeddings"

# As ComfyUI's tokenizer reads it: at the start of a word or of a weighted part, up to a blank or one of ( ) < [, unless
# that is escaped. A trailing weight, as in (embedding:name:1.2), belongs to the parentheses.
_EMBEDDING = re.compile(r"(?:^|(?<=[\s()]))embedding:((?:\\[()]|[^\s()<\[])+)(?=(\))?)")
_WEIGHT = re.compile(r":[+-]?(?:\d+\.?\d*|\.\d+)$")
_EMBEDDING_SUFFIX = re.compile(r"\.(?:safetensors|pt|bin)$", re.IGNORECASE)


def needs(graph: Graph, catalog: Catalog | None = None, outputs: Sequence[str] = ()) -> Needs:
    """The needs of a parsed graph; `outputs` names the output nodes that are wanted (all of them when empty).

    Every node's class counts, as ComfyUI refuses a graph for any class that it lacks, executed or not.
    """
    models = {model for node_id in _executing(graph, catalog, outputs) for model in _models(graph[node_id], catalog)}
    return Needs(tuple(sorted({node["class_type"] for node in graph.values()})), tuple(sorted(models)))


def embeddings(text: str) -> list[str]:
    """Names of the embeddings that a prompt asks for, without file suffix, as ComfyUI's /embeddings lists them."""
    found: list[str] = []
    for match in _EMBEDDING.finditer(text) if "embedding:" in text else ():
        name = _WEIGHT.sub("", match[1]) if match[2] else match[1]
        name = re.sub(r"\\([()])", r"\1", name).strip(",")
        if name:
            found.append(_EMBEDDING_SUFFIX.sub("", name))
    return found


def _executing(graph: Graph, catalog: Catalog | None, outputs: Sequence[str]) -> set[str]:
    if catalog is None:
        return reachable(graph, outputs) if outputs else set(graph)
    return reachable(graph, catalog.output_nodes(graph, outputs))


def _models(node: Mapping[str, Any], catalog: Catalog | None) -> Iterator[ModelRef]:
    class_type, values = node["class_type"], node["inputs"]
    spec = catalog.classes.get(class_type) if catalog else None
    specs: Mapping[str, InputSpec] = spec.inputs.given(values).specs if spec else {}
    for name, value in values.items():
        if is_link(value):
            continue
        if is_object(value) and "__value__" in value:
            value = value["__value__"]
        if is_object(value):
            yield from _row(class_type, value, catalog)
            continue
        folder = _folder(class_type, name, specs.get(name), value, catalog)
        for given in _strings(value):
            yield from (ModelRef(EMBEDDINGS, each) for each in embeddings(given))
            if folder is not None and is_model_name(folder, given):
                yield ModelRef(folder, given)


def _folder(class_type: str, name: str, spec: InputSpec | None, value: Any, catalog: Catalog | None) -> str | None:
    """The folder of the models that an input names, if it names any."""
    if spec is not None and spec.kind is Kind.COMBO:
        return spec.folder
    folder = known_folder(class_type, name)
    if catalog is None:
        return folder or (UNKNOWN_FOLDER if looks_like_model(value) else None)
    return folder if folder in catalog.folders else None  # what no catalog could confirm is not asked for


def _row(class_type: str, value: Mapping[str, Any], catalog: Catalog | None) -> Iterator[ModelRef]:
    """Models in one row of a custom node's list, such as {"on": true, "lora": NAME, "strength": 1}."""
    for key, inner in value.items() if value.get("on") is not False else ():
        folder = _folder(class_type, key, None, inner, catalog)
        if folder is not None and is_model_name(folder, inner):
            yield ModelRef(folder, inner)


def _strings(value: Any) -> list[str]:
    """The text in a value: itself, or the members of a list of choices."""
    if is_list(value):
        return [each for each in value if isinstance(each, str)]
    return [value] if isinstance(value, str) else []
