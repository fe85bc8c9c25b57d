"""The gate of a workflow, from what its registration says; and that of a job, from the workflow's. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.controller.requests import Quality, WorkflowJob, suggest
from orchestrator.domain.quality import Gate, Otherwise, Patch, Policy, Redraw, Rule, WorkflowGate
from orchestrator.domain.workflow import Binding, ParamKind, Workflow
from orchestrator.errors import InvalidRequest
from orchestrator.graph.bind import patch
from orchestrator.graph.params import Schema
from orchestrator.graph.scorers import invalid, with_scorers
from orchestrator.graph.shape import Graph, pointer, show


def workflow_gate(said: Quality, graph: Graph, bind: Mapping[str, Binding], schema: Schema) -> WorkflowGate:
    """The gate of a registration. Raises InvalidRequest("invalid_quality") with a pointer into `quality`."""
    most = said.max_candidates or said.candidates
    _check_sense(said, most)
    policy = Policy(
        rules={name: Rule(rule.min, rule.weight, dict(rule.model_extra or {})) for name, rule in said.scores.items()},
        images=said.images, candidates=said.candidates, deliver=said.deliver, reruns=said.on_miss.reruns,
        enough=said.enough, unscored=said.unscored, otherwise=said.otherwise, review_s=said.review.timeout_s,
        unreviewed=said.review.otherwise,
    )  # fmt: skip
    with_scorers(graph, policy, bind)  # refuses what cannot be scored
    runs = most + said.on_miss.reruns
    reseed = _reseed(said, bind, schema, runs) if runs > 1 else None
    for param, value in said.on_miss.set.items():
        _check_param(param, value, bind, schema)
    if reseed in said.on_miss.set:
        raise invalid(f"{reseed} is drawn anew for every candidate: leave it out of set", "on_miss", "set", reseed)
    return WorkflowGate(policy, most, reseed, said.on_miss.set)


Draw = Callable[[int], int]
"""draw(n): an integer at random, from 0 to n - 1."""


@dataclass(frozen=True, slots=True)
class Gated:
    """A job's graph with its scorers, and its gate."""

    graph: Graph
    gate: Gate


def gated(workflow: Workflow, body: WorkflowJob, graph: Graph, schema: Schema) -> Gated | None:
    """`graph`: the workflow's, with the job's params in it. None where the workflow has no gate. Raises
    InvalidRequest("invalid_candidates")."""
    asked = body.candidates or body.deliver
    if workflow.quality is None:
        if asked:
            what = "candidates" if body.candidates else "deliver"
            told = f"{workflow.name} has no quality gate, so there is nothing to choose from: leave {what} out"
            raise InvalidRequest("invalid_candidates", told, pointer=pointer(what))
        return None
    policy = _asked_for(workflow.quality, body)
    judged, report = with_scorers(graph, policy, workflow.bind)
    on_rerun: Patch = {}
    if workflow.quality.on_rerun:
        later, _ = with_scorers(patch(graph, workflow.bind, workflow.quality.on_rerun), policy, workflow.bind)
        on_rerun = _difference(judged, later)
    return Gated(judged, Gate(policy, report, _redraw(workflow, schema, on_rerun)))


def first_candidates(gate: Gate | None, draw: Draw) -> tuple[Patch, ...]:
    """The patches of the candidates beyond the first, which has the job's own params."""
    return () if gate is None or gate.redraw is None else _redrawn(gate.redraw, gate.policy.candidates - 1, draw)


def more_candidates(gate: Gate, count: int, draw: Draw) -> tuple[Patch, ...]:
    """The patches of candidates that come after too few were good."""
    assert gate.redraw is not None  # a gate that allows reruns has a param to redraw
    later = gate.redraw.on_rerun
    return tuple(
        {node_id: {**later.get(node_id, {}), **own.get(node_id, {})} for node_id in (*later, *own)}
        for own in _redrawn(gate.redraw, count, draw)
    )


def _redrawn(redraw: Redraw, count: int, draw: Draw) -> tuple[Patch, ...]:
    patches: list[Patch] = []
    for _ in range(count):
        value = redraw.low + draw(redraw.high - redraw.low + 1)
        own: dict[str, dict[str, int]] = {}
        for node_id, name in redraw.inputs:
            own.setdefault(node_id, {})[name] = value
        patches.append(own)
    return tuple(patches)


def _asked_for(gate: WorkflowGate, body: WorkflowJob) -> Policy:
    policy = gate.policy
    candidates = body.candidates or policy.candidates
    deliver = body.deliver or min(policy.deliver, candidates)
    if candidates > gate.most:
        told = f"candidates must be at most {gate.most}, as this workflow's max_candidates says, not {candidates}"
        raise InvalidRequest("invalid_candidates", told, pointer="/candidates")
    if deliver > candidates:
        told = f"deliver is {deliver}, of {candidates} candidates: ask for fewer, or for more candidates"
        raise InvalidRequest("invalid_candidates", told, pointer="/deliver")
    return replace(policy, candidates=candidates, deliver=deliver)


def _redraw(workflow: Workflow, schema: Schema, on_rerun: Patch) -> Redraw | None:
    gate = workflow.quality
    if gate is None or gate.reseed is None:
        return None
    span = schema.span(gate.reseed)
    assert span is not None  # checked when it was registered
    low, high = span
    return Redraw(workflow.bind[gate.reseed].inputs, low, high, on_rerun)


def _difference(before: Graph, after: Graph) -> Patch:
    """The inputs that differ between two graphs of the same nodes."""
    changed: dict[str, dict[str, Any]] = {}
    for node_id, node in after.items():
        was = before[node_id]["inputs"]
        for name, value in node["inputs"].items():
            if was.get(name) != value:
                changed.setdefault(node_id, {})[name] = value
    return changed


def _check_sense(said: Quality, most: int) -> None:
    """Refuses what the model of a request allows, and what would have no effect or no end."""
    if repeated := next((n for n, node_id in enumerate(said.images) if node_id in said.images[:n]), None):
        raise invalid(f"images names {show(said.images[repeated])} twice", "images", str(repeated))
    if most < said.candidates:
        raise invalid(f"max_candidates is {most}, less than candidates, {said.candidates}", "max_candidates")
    if said.deliver > said.candidates:
        raise invalid(f"deliver is {said.deliver}, of {said.candidates} candidates: make more candidates", "deliver")
    if said.on_miss.set and not said.on_miss.reruns:
        raise invalid("set changes params of reruns, and there are none: give on_miss.reruns", "on_miss", "set")
    if said.review.otherwise is Otherwise.REVIEW:
        raise invalid("when nobody decides, a review ends with fail or flag", "review", "otherwise")


def _reseed(said: Quality, bind: Mapping[str, Binding], schema: Schema, runs: int) -> str:
    """The param to redraw: the one that is named, or the only one that is a seed. It has a value for each run."""
    named = said.on_miss.reseed
    if named is None:
        seeds = list(schema.seeds(bind))
        if len(seeds) != 1:
            which = f"which of {', '.join(seeds)}" if seeds else "the param whose values make them differ"
            told = f"several candidates of the same params would be the same: name {which} in on_miss.reseed"
            raise invalid(told, "on_miss", "reseed")
        return seeds[0]
    if named not in bind:
        raise invalid(f"reseed names {show(named)}, which is no param{suggest(named, bind)}", "on_miss", "reseed")
    span = schema.span(named)
    if span is None:
        raise invalid(f"reseed names {named}, which does not take any integer in a range", "on_miss", "reseed")
    if (values := span[1] - span[0] + 1) < runs:
        told = f"reseed names {named}, which takes {values} values, and a job may have {runs} runs: too few to differ"
        raise invalid(told, "on_miss", "reseed")
    return named


def _check_param(param: str, value: Any, bind: Mapping[str, Binding], schema: Schema) -> None:
    at = ("on_miss", "set", param)
    if param not in bind:
        raise invalid(f"set names {show(param)}, which is no param{suggest(param, bind)}", *at)
    if bind[param].kind is not ParamKind.VALUE:
        raise invalid(f"{param} holds an asset, which is the same for all candidates: leave it out of set", *at)
    if why := schema.objection(param, value):
        raise invalid(why, *at)
