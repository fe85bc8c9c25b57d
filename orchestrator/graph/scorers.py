"""Surgery: puts scorers behind the judged outputs of a graph. The author's nodes stay as they are.

Each judged picture goes to one scorer a dimension, and all scores to one report, which ComfyUI keeps in its history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.domain.quality import Policy, Rule
from orchestrator.domain.workflow import Binding, ParamKind
from orchestrator.errors import InvalidRequest
from orchestrator.graph.shape import Graph, is_link, kind_of, label, pointer, show
from orchestrator.graph.values import nearest

REPORT = "fleet_report"
"""Id of the node that gathers the scores."""

_PICTURE, _MASK, _PLAIN = ParamKind.IMAGE, ParamKind.MASK, ParamKind.VALUE


@dataclass(frozen=True, slots=True)
class Scorer:
    """A node class of the node pack, and its inputs beside the pictures: what each of them takes."""

    class_type: str
    required: Mapping[str, ParamKind] = field(default_factory=dict[str, ParamKind])
    optional: Mapping[str, ParamKind] = field(default_factory=dict[str, ParamKind])

    @property
    def inputs(self) -> Mapping[str, ParamKind]:
        return {**self.required, **self.optional}


SCORERS: Mapping[str, Scorer] = {
    "artifacts": Scorer("FleetArtifacts"),
    "background_consistency": Scorer("FleetBackgroundConsistency", {"reference": _PICTURE, "mask": _MASK}),
    "brand_color": Scorer("FleetBrandColor", {"colors": _PLAIN}, {"coverage": _PLAIN, "mask": _MASK}),
    "composition": Scorer("FleetComposition", {}, {"mask": _MASK}),
    "expression": Scorer("FleetExpression", {"wanted": _PLAIN}, {"encoder": _PLAIN, "faces": _PLAIN, "mask": _MASK}),
    "face_fidelity": Scorer("FleetFaceFidelity", {"reference": _PICTURE}, {"encoder": _PLAIN}),
    "garment_accuracy": Scorer(
        "FleetGarmentAccuracy", {"mask": _MASK, "reference": _PICTURE}, {"reference_mask": _MASK, "encoder": _PLAIN}
    ),
    "prompt_alignment": Scorer("FleetPromptAlignment", {"prompt": _PLAIN}, {"encoder": _PLAIN}),
    "reference_similarity": Scorer("FleetReferenceSimilarity", {"reference": _PICTURE}),
    "safety": Scorer("FleetSafety", {"unsafe": _PLAIN}, {"encoder": _PLAIN}),
    "sharpness": Scorer("FleetSharpness", {}, {"mask": _MASK}),
    "text_legibility": Scorer("FleetTextLegibility", {"text": _PLAIN}, {"encoder": _PLAIN, "mask": _MASK}),
}
"""By dimension."""

OF_THE_PACK = frozenset({"FleetReport", *(scorer.class_type for scorer in SCORERS.values())})
"""Node classes that come with comfyfleet, and that nobody writes."""

_OF_RULES = ("min", "weight")
_PICTURE_INPUTS = ("images", "image")
_LOADERS: Mapping[ParamKind, tuple[str, Mapping[str, str]]] = {
    _PICTURE: ("LoadImage", {}),
    _MASK: ("LoadImageMask", {"channel": "red"}),
}


def with_scorers(graph: Graph, policy: Policy, bind: Mapping[str, Binding]) -> tuple[Graph, str]:
    """The graph with the policy's scorers, and the id of the node that reports. A scorer's input "$param" takes what
    the graph has where that param is bound.

    Raises InvalidRequest("invalid_quality") with a pointer into the workflow's `quality`.
    """
    grown: dict[str, Any] = dict(graph)
    scores: list[list[Any]] = []
    for number, node_id in enumerate(policy.images):
        picture = _picture(graph, node_id, number)
        for dimension, rule in policy.rules.items():
            scorer = f"fleet_{dimension}_{node_id}"
            wanted = _scorer(dimension, rule)
            given = {name: _given(grown, (dimension, name), value, bind) for name, value in rule.given.items()}
            grown[scorer] = _node(wanted.class_type, {"images": picture, **given})
            scores.append([scorer, 1])
    grown[REPORT] = _node("FleetReport", {f"score_{n}": score for n, score in enumerate(scores, 1)})
    return grown, REPORT


def _picture(graph: Graph, node_id: str, number: int) -> Any:
    """The link that the judged node takes its pictures from."""
    if node_id not in graph:
        told = f"images names node {show(node_id)}, which the graph does not have"
        raise invalid(told, "images", number)
    inputs = graph[node_id]["inputs"]
    found = next((inputs[name] for name in _PICTURE_INPUTS if is_link(inputs.get(name))), None)
    if found is None:
        told = f"{label(graph, node_id)} takes no pictures, so there is nothing to judge: name a node that saves them"
        raise invalid(told, "images", number)
    return found


def _scorer(dimension: str, rule: Rule) -> Scorer:
    """The scorer of a dimension, if the rule gives it what it takes."""
    if dimension not in SCORERS:
        told = f"{show(dimension)} is no dimension of quality; there is {_like(dimension, SCORERS)}"
        raise invalid(told, "scores", dimension)
    scorer = SCORERS[dimension]
    for name in rule.given:
        if name not in scorer.inputs:
            like = _like(name, [*_OF_RULES, *scorer.inputs])
            raise invalid(f"{dimension} takes no {show(name)}; it takes {like}", "scores", dimension, name)
    if missing := [name for name in scorer.required if name not in rule.given]:
        told = f"{dimension} needs {' and '.join(missing)}: a value, or $NAME for a param of the job"
        raise invalid(told, "scores", dimension)
    return scorer


def _given(graph: dict[str, Any], at: tuple[str, str], value: Any, bind: Mapping[str, Binding]) -> Any:
    """What the scorer's input takes; `at`: dimension and input. May add the node that loads it."""
    dimension, name = at
    takes = SCORERS[dimension].inputs[name]
    if is_link(value):
        if value[0] not in graph:
            raise invalid(f"{name} is linked to node {show(value[0])}, which the graph does not have", "scores", *at)
        return value
    if not isinstance(value, str) or not value.startswith("$"):
        return _plain(at, value, takes)
    param = value[1:]
    if param not in bind:
        told = f"{name} of {dimension} names {value}, and the workflow has no such param; it has {_like(param, bind)}"
        raise invalid(told, "scores", *at)
    if bind[param].kind is not takes:
        told = f"{name} of {dimension} takes a param of kind {takes}, and {param} is bound as kind {bind[param].kind}"
        raise invalid(told, "scores", *at)
    return _of_param(graph, param, bind[param])


def _plain(at: tuple[str, str], value: Any, takes: ParamKind) -> Any:
    dimension, name = at
    if takes is not _PLAIN:
        told = f'{name} of {dimension} takes $NAME, a param of kind {takes}, or a link such as ["4", 0]'
        raise invalid(told, "scores", *at)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        told = f"{name} of {dimension} takes text or a number, not {kind_of(value)}: write text in quotes"
        raise invalid(told, "scores", *at)
    return value


def _of_param(graph: dict[str, Any], param: str, binding: Binding) -> Any:
    node_id, input_name = binding.inputs[0]
    loader = _LOADERS.get(binding.kind)
    if loader is None:
        return graph[node_id]["inputs"][input_name]
    class_type, options = loader
    if graph[node_id]["class_type"] == class_type:
        return [node_id, 0]
    mine = f"fleet_load_{param}"
    graph[mine] = _node(class_type, {"image": graph[node_id]["inputs"][input_name], **options})
    return [mine, 0]


def _like(name: str, known: Iterable[str]) -> str:
    """Of what there is, what was probably meant; else all of it."""
    return ", ".join(nearest(name, list(known), 1) or known) or "none"


def invalid(message: str, *at: str | int) -> InvalidRequest:
    """Of a gate. `at`: where in `quality`."""
    return InvalidRequest("invalid_quality", message, pointer=pointer(*at))


def _node(class_type: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": dict(inputs)}
