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
from orchestrator.graph.params import DIALECT, MAX_SEED, SEED_INPUTS
from orchestrator.graph.prompts import Polarity, prompts
from orchestrator.graph.shape import Graph, is_link, label, reachable, title
from orchestrator.graph.specs import InputSpec, Kind

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


@dataclass(frozen=True)
class _Place:
    """An input that holds a value, and what the catalog knows of it."""

    graph: Graph
    node_id: str
    name: str
    value: Any
    spec: InputSpec | None

    @property
    def class_type(self) -> str:
        return self.graph[self.node_id]["class_type"]

    @property
    def siblings(self) -> Mapping[str, Any]:
        return self.graph[self.node_id]["inputs"]


@dataclass
class _Param:
    """A param in the making. Places whose params have the same base and hold the `same` belong together."""

    base: str
    same: Any
    schema: dict[str, Any]
    kind: ParamKind = ParamKind.VALUE
    places: list[_Place] = field(default_factory=list[_Place])


def draft(
    graph: Graph, catalog: Catalog | None, name: str, graph_file: str, schema_file: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The registration of a parsed graph, ready to be written as YAML, and the schema of its params.

    With a catalog, values are offered as workers have them, and nodes that no output hangs on are left alone.
    """
    named = _named(catalog, _merged(_found(graph, catalog)))
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "title": f"{name}.params",
        "type": "object",
        "properties": {param: _described(each) for param, each in named.items()},
    }
    if files := [param for param, each in named.items() if each.kind is not ParamKind.VALUE]:
        schema["required"] = files
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
    """A param for every input worth one, those that callers set most first."""
    places = list(_places(graph, catalog))
    held = {(place.node_id, place.name): place for place in places}
    for where, polarity in prompts(graph).items():
        if where in held:
            base = "prompt" if polarity is Polarity.POSITIVE else "negative"
            value = held[where].value
            yield _Param(base, value, {"type": "string", "default": value}, places=[held[where]])
    for finder in (_file, _seed, _setting, _choice, _model):
        for place in places:
            if param := finder(place):
                param.places.append(place)
                yield param


def _places(graph: Graph, catalog: Catalog | None) -> Iterator[_Place]:
    executing = set(graph) if catalog is None else reachable(graph, catalog.output_nodes(graph))
    for node_id, node in graph.items():
        known = catalog.classes.get(node["class_type"]) if catalog else None
        specs: Mapping[str, InputSpec] = known.inputs.given(node["inputs"]).specs if known else {}
        for name, value in node["inputs"].items() if node_id in executing else ():
            if not is_link(value):
                yield _Place(graph, node_id, name, value, specs.get(name))


def _file(place: _Place) -> _Param | None:
    kind = _FILES.get((place.class_type, place.name))
    if kind is None and (place.spec is None or place.spec.kind is not Kind.FILE):
        return None
    kind = kind or ParamKind.FILE
    if kind is ParamKind.IMAGE and _gives_only(place, slot=1):
        kind = ParamKind.MASK
    said = {"type": "string", "description": f"Id of an uploaded {kind} (POST /v1/assets)"}
    return _Param(kind.value, (place.node_id, place.name), said, kind)


def _seed(place: _Place) -> _Param | None:
    if place.name not in SEED_INPUTS or not isinstance(place.value, int):
        return None
    high = MAX_SEED if place.spec is None or place.spec.high is None else min(MAX_SEED, int(place.spec.high))
    said = {"type": "integer", "minimum": 0, "maximum": high, "description": "Drawn when left out"}
    return _Param("seed", place.value, said)


def _setting(place: _Place) -> _Param | None:
    value = place.value
    if place.name not in _SETTINGS or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if place.name in _SIZES and not place.siblings.keys() >= {"width", "height", "batch_size"}:
        return None  # the size of something else than what is made
    base, kind, low, high = _SETTINGS[place.name]
    if kind == "integer" and not isinstance(value, int):
        return None
    if place.spec is not None:
        low = low if place.spec.low is None else max(low, place.spec.low)
        high = high if place.spec.high is None else min(high, place.spec.high)
    return _Param(
        base, value, {"type": kind, "minimum": min(low, value), "maximum": max(high, value), "default": value}
    )


def _choice(place: _Place) -> _Param | None:
    if place.name not in _CHOICES or not isinstance(place.value, str):
        return None
    return _Param(_CHOICES[place.name], place.value, _one_of(place))


def _model(place: _Place) -> _Param | None:
    folder = place.spec.folder if place.spec else known_folder(place.class_type, place.name)
    if folder not in _MODELS or not is_model_name(folder, place.value):
        return None
    return _Param(_MODELS[folder], place.value, _one_of(place))


def _one_of(place: _Place) -> dict[str, Any]:
    value, options = place.value, list(place.spec.options.values) if place.spec and place.spec.options else []
    if not 0 < len(options) <= _MAX_OPTIONS:
        return {"type": "string", "default": value}
    return {"type": "string", "enum": options if value in options else [value, *options], "default": value}


def _gives_only(place: _Place, slot: int) -> bool:
    """Whether that output of the node is the only one that is used."""
    values = (value for node in place.graph.values() for value in node["inputs"].values())
    return {value[1] for value in values if is_link(value) and value[0] == place.node_id} == {slot}


def _merged(found: Iterator[_Param]) -> list[_Param]:
    """One param for places that mean the same and hold the same; a place belongs to the first param that claims it."""
    params: dict[tuple[str, Any], _Param] = {}
    taken: set[tuple[str, str]] = set()
    for param in found:
        where = (param.places[0].node_id, param.places[0].name)
        if where in taken:
            continue
        taken.add(where)
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


def _named(catalog: Catalog | None, params: list[_Param]) -> dict[str, _Param]:
    named: dict[str, _Param] = {}
    for param in params:
        own = _own_title(param.places[0], catalog)
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


def _own_title(place: _Place, catalog: Catalog | None) -> str | None:
    """The title that somebody gave the node, as part of a name; None for the one that every such node has."""
    given = title(place.graph[place.node_id]) or ""
    known = catalog.classes.get(place.class_type) if catalog else None
    plain, usual = _squeezed(given), _squeezed(place.class_type)
    if (known and given == known.title) or plain.startswith(usual) or usual.startswith(plain):
        return None
    return re.sub(r"[^a-z0-9]+", "_", given.lower()).strip("_")[:40].strip("_") or None


def _squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _described(param: _Param) -> dict[str, Any]:
    places = [f"{place.name} of {label(place.graph, place.node_id)}" for place in param.places]
    return {"description": ", ".join(places), **param.schema}


def _binding(param: _Param) -> Any:
    places = [f"{place.node_id}.{place.name}" for place in param.places]
    named: str | list[str] = places[0] if len(places) == 1 else places
    return named if param.kind is ParamKind.VALUE else {"input": named, "kind": param.kind.value}
