"""Where a workflow's time goes, and what its next job will take and cost."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.controller.estimates import Estimate
from orchestrator.domain.sample import Sample
from orchestrator.domain.workflow import Workflow
from orchestrator.graph.shape import title
from orchestrator.scheduling.profile import Range, node_profiles, spread


@described
class RangeView(TypedDict):
    expected: float
    low: float
    """One in ten is below."""
    high: float
    """One in ten is above."""


@described
class NodeView(TypedDict):
    node: str
    class_type: str
    title: str | None
    runs: int
    """In so many of the runs it was not cached."""
    share: float
    """Of all seconds of all nodes."""
    p50: float
    p90: float
    p99: float


@described
class ProfileView(TypedDict):
    workflow: str
    version: int
    runs: int
    """How many of the last runs this is made from."""
    execute_s: RangeView | None
    load_s: RangeView | None
    """The part of it that loading models is thought to have been."""
    nodes: list[NodeView]
    """The dearest first, in seconds."""


@described
class EstimateView(TypedDict):
    workflow: str
    version: int
    runs: int
    """How many of the last runs this is learned from; 0: it is a guess."""
    candidates: int
    seconds: RangeView
    """On the GPU, for one run, with loading as the last runs had it. What waits in the queue comes on top."""
    dollars: RangeView | None
    """For all candidates; null: no ready worker of the pool has a rate."""


def profile_view(workflow: Workflow, samples: Sequence[Sample]) -> ProfileView:
    return {
        "workflow": workflow.name,
        "version": workflow.version,
        "runs": len(samples),
        "execute_s": range_view(spread([each.execute_s for each in samples])) if samples else None,
        "load_s": range_view(spread([each.load_s for each in samples])) if samples else None,
        "nodes": [
            {
                "node": it.node,
                "class_type": str(workflow.graph.get(it.node, {}).get("class_type", "")),
                "title": title(workflow.graph.get(it.node, {})),
                "runs": it.runs,
                "share": round(it.share, 4),
                "p50": it.p50,
                "p90": it.p90,
                "p99": it.p99,
            }
            for it in node_profiles(samples)
        ],
    }


def estimate_view(workflow: Workflow, estimate: Estimate) -> EstimateView:
    return {
        "workflow": workflow.name,
        "version": workflow.version,
        "runs": estimate.runs,
        "candidates": estimate.candidates,
        "seconds": range_view(estimate.seconds),
        "dollars": range_view(estimate.dollars) if estimate.dollars else None,
    }


def range_view(it: Range) -> RangeView:
    return {"expected": round(it.expected, 6), "low": round(it.low, 6), "high": round(it.high, 6)}
