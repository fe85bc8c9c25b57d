"""What a job of a workflow will take and cost, before it is submitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.domain.sample import Sample
from orchestrator.domain.worker import Worker, WorkerState
from orchestrator.domain.workflow import Workflow
from orchestrator.scheduling.profile import Range, expected_s


@dataclass(frozen=True, slots=True)
class Estimate:
    """`seconds`: of a GPU, for one run. `dollars`: for all candidates; None where no ready worker has a rate."""

    runs: int
    candidates: int
    seconds: Range
    dollars: Range | None


def estimate(
    workflow: Workflow, samples: Sequence[Sample], workers: Sequence[Worker], candidates: int | None
) -> Estimate:
    """`workers`: of the fleet; those count that are ready in the workflow's pool."""
    ready = [it.info for it in workers if it.info.pool == workflow.pool and it.state is WorkerState.READY]
    seconds = expected_s(samples, {info.gpu or "" for info in ready})
    count = candidates or (workflow.quality.policy.candidates if workflow.quality else 1)
    rates = [info.rate for info in ready if info.rate is not None]
    if not rates:
        return Estimate(len(samples), count, seconds, None)
    hours = seconds.times(count / 3600)
    dollars = Range(hours.expected * fmean(rates), hours.low * min(rates), hours.high * max(rates))
    return Estimate(len(samples), count, seconds, dollars)
