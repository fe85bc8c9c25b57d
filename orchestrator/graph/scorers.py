"""Surgery: puts scorers behind the judged outputs of a graph. The author's nodes stay as they are.

Each judged picture goes to one scorer a dimension, and all scores to one report, which ComfyUI keeps in its history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.domain.quality import Policy
from orchestrator.domain.workflow import Binding, ParamKind
from orchestrator.errors import InvalidRequest
from orchestrator.graph.shape import Graph, is_link, label, pointer, show
from orchestrator.graph.values import nearest

REPORT = "fleet_report"
"""Id of the node that gathers the scores."""

SCORERS: Mapping[str, str] = {
    "artifacts": "FleetArtifacts",
    "background_consistency": "FleetBackgroundConsistency",
    "brand_color": "FleetBrandColor",
    "composition": "FleetComposition",
    "expression": "FleetExpression",
    "face_fidelity": "FleetFaceFidelity",
    "garment_accuracy": "FleetGarmentAccuracy",
    "prompt_alignment": "FleetPromptAlignment",
    "reference_similarity": "FleetReferenceSimilarity",
    "safety": "FleetSafety",
    "sharpness": "FleetSharpness",
    "text_legibility": "FleetTextLegibility",
}
"""Dimension -> the node class of the node pack that scores it."""

_PICTURES = ("images", "image")
_LOADERS: Mapping[ParamKind, tuple[str, Mapping[str, str]]] = {
    ParamKind.IMAGE: ("LoadImage", {}),
    ParamKind.MASK: ("LoadImageMask", {"channel": "red"}),
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
            given = {name: _given(grown, dimension, name, value, bind) for name, value in rule.given.items()}
            grown[scorer] = _node(_class_of(dimension), {"images": picture, **given})
            scores.append([scorer, 1])
    grown[REPORT] = _node("FleetReport", {f"score_{n}": score for n, score in enumerate(scores, 1)})
    return grown, REPORT


def _picture(graph: Graph, node_id: str, number: int) -> Any:
    """The link that the judged node takes its pictures from."""
    at = pointer("images", number)
    if node_id not in graph:
        told = f"images names node {show(node_id)}, which the graph does not have"
        raise InvalidRequest("invalid_quality", told, pointer=at)
    inputs = graph[node_id]["inputs"]
    found = next((inputs[name] for name in _PICTURES if is_link(inputs.get(name))), None)
    if found is None:
        told = f"{label(graph, node_id)} takes no pictures, so there is nothing to judge: name a node that saves them"
        raise InvalidRequest("invalid_quality", told, pointer=at)
    return found


def _class_of(dimension: str) -> str:
    if dimension not in SCORERS:
        like = nearest(dimension, list(SCORERS), 1) or list(SCORERS)
        told = f"{show(dimension)} is no dimension of quality; there is {', '.join(like)}"
        raise InvalidRequest("invalid_quality", told, pointer=pointer("scores", dimension))
    return SCORERS[dimension]


def _given(graph: dict[str, Any], dimension: str, name: str, value: Any, bind: Mapping[str, Binding]) -> Any:
    """What the scorer's input takes. May add the node that loads it."""
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    param = value[1:]
    if param not in bind:
        like = nearest(param, list(bind), 1) or list(bind)
        told = f"{name} of {dimension} names {value}, and the workflow has no such param; it has {', '.join(like)}"
        raise InvalidRequest("invalid_quality", told, pointer=pointer("scores", dimension, name))
    node_id, input_name = bind[param].inputs[0]
    loader = _LOADERS.get(bind[param].kind)
    if loader is None:
        return graph[node_id]["inputs"][input_name]
    class_type, options = loader
    if graph[node_id]["class_type"] == class_type:
        return [node_id, 0]
    mine = f"fleet_load_{param}"
    graph[mine] = _node(class_type, {"image": graph[node_id]["inputs"][input_name], **options})
    return [mine, 0]


def _node(class_type: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": dict(inputs)}
