"""A job's candidates: what each scored, which were chosen and why, and what that cost."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.api.fleet.views.outputs import OutputView, candidate_outputs_url, output_view
from orchestrator.domain.job import Job
from orchestrator.domain.quality import CandidateState, Gate, JudgementState
from orchestrator.domain.run import Run
from orchestrator.quality.candidates import candidates, latest
from orchestrator.quality.gate import rank


@described
class ScoreView(TypedDict):
    value: float | None
    """0 to 1, 1 is best; of several pictures the worst one's. null: it could not be computed."""
    reason: str
    """Why there is no value."""


@described
class CandidateView(TypedDict):
    slot: int
    run: str
    """Its last attempt."""
    state: CandidateState
    chosen: bool
    score: float | None
    """The weighted mean that the candidates are ranked by."""
    misses: list[str]
    """Why it is not good enough; empty for a good one."""
    scores: dict[str, ScoreView]
    outputs: list[OutputView]
    cost: float | None


@described
class QualityCostView(TypedDict):
    """Dollars, where the rates of its workers are known."""

    delivered: float
    """The first candidates that were delivered."""
    reruns: float
    """Candidates that were tried since too few were good."""
    discarded: float
    """First candidates that were not delivered."""


@described
class QualityView(TypedDict):
    state: JudgementState
    why: str
    deliver: int
    candidates: list[CandidateView]
    """The best first."""
    scoring_s: float
    """Seconds of execution that went into scoring."""
    cost: QualityCostView | None


def quality_view(job: Job) -> QualityView | None:
    """None for a job without a gate."""
    gate = job.spec.gate
    if gate is None:
        return None
    judgement = job.judgement
    chosen = judgement.chosen if judgement else ()
    return {
        "state": judgement.state if judgement else JudgementState.WAITING,
        "why": judgement.why if judgement else "",
        "deliver": gate.policy.deliver,
        "candidates": _candidates(job, gate, chosen),
        "scoring_s": sum(run.scoring_s for run in job.runs),
        "cost": _cost(job.runs, gate, chosen),
    }


def _candidates(job: Job, gate: Gate, chosen: Sequence[int]) -> list[CandidateView]:
    known = candidates(job.runs)
    standings = {standing.slot: standing for standing in rank(gate.policy, known)}
    order = {slot: n for n, slot in enumerate(standings)}
    runs = latest(job.runs)
    return [
        {
            "slot": candidate.slot,
            "run": runs[candidate.slot].id,
            "state": candidate.state,
            "chosen": candidate.slot in chosen,
            "score": standings[candidate.slot].score if candidate.slot in standings else None,
            "misses": list(standings[candidate.slot].misses) if candidate.slot in standings else [],
            "scores": {name: {"value": it.value, "reason": it.reason} for name, it in candidate.scores.items()},
            "outputs": [
                output_view(candidate_outputs_url(job.spec.id, candidate.slot), n, output)
                for n, output in enumerate(runs[candidate.slot].outputs)
            ],
            "cost": runs[candidate.slot].cost,
        }
        for candidate in sorted(known, key=lambda candidate: order.get(candidate.slot, len(order) + candidate.slot))
    ]


def _cost(runs: Sequence[Run], gate: Gate, chosen: Sequence[int]) -> QualityCostView | None:
    """Each dollar stands in one place: a rerun is one, delivered or not."""
    if all(run.cost is None for run in runs):
        return None
    first = [run for run in runs if run.slot < gate.policy.candidates]
    return {
        "delivered": sum(run.cost or 0.0 for run in first if run.slot in chosen),
        "reruns": sum(run.cost or 0.0 for run in runs if run.slot >= gate.policy.candidates),
        "discarded": sum(run.cost or 0.0 for run in first if run.slot not in chosen),
    }
