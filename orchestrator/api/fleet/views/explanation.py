"""Why a job is where it is: in one sentence, then run by run with the reasons that the dispatcher kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.api.fleet.views.jobs import RunView, run_view
from orchestrator.domain.job import Job, JobStatus
from orchestrator.domain.run import RunState
from orchestrator.domain.worker import Worker, WorkerState


@described
class CandidateView(TypedDict):
    """A worker of the job's pool."""

    id: str
    state: WorkerState
    note: str | None
    runs: int
    """How many it has."""
    cannot: str | None
    """Why it cannot take the job's run, while that is queued. Null: it can, and is busy, or the run is about to go."""


@described
class ExplanationView(TypedDict):
    job: str
    status: JobStatus
    summary: str
    pool: str
    queue_position: int | None
    runs: list[RunView]
    workers: list[CandidateView]


def explanation_view(
    job: Job, queue_position: int | None, workers: Sequence[Worker], obstacles: Mapping[str, str]
) -> ExplanationView:
    """`workers` are those of the job's pool; `obstacles` says of some why they cannot take its queued run."""
    return {
        "job": job.spec.id,
        "status": job.status,
        "summary": _summary(job, queue_position, workers, obstacles),
        "pool": job.spec.pool,
        "queue_position": queue_position,
        "runs": [run_view(run) for run in job.runs],
        "workers": [
            {
                "id": worker.info.id,
                "state": worker.state,
                "note": worker.note,
                "runs": len(worker.runs),
                "cannot": obstacles.get(worker.info.id),
            }
            for worker in workers
        ],
    }


def _summary(job: Job, queue_position: int | None, workers: Sequence[Worker], obstacles: Mapping[str, str]) -> str:
    last = job.runs[-1]
    if job.terminal:
        why = f": {job.error.message}" if job.error else ""
        where = f" on {last.worker}" if last.worker else ""
        return f"{job.status}{where} after {_counted(len(job.runs), 'run')}{why}"
    if job.status is JobStatus.CANCELING:
        return f"waits for {last.worker or 'its run'} to confirm that it has stopped"
    if last.state is RunState.RUNNING:
        return f"executes on {last.worker}"
    if last.state is RunState.ASSIGNED:
        return f"given to {last.worker}: its inputs are staged, or it waits behind what {last.worker} executes"
    return _why_queued(job.spec.pool, queue_position or 0, workers, obstacles)


def _why_queued(pool: str, ahead: int, workers: Sequence[Worker], obstacles: Mapping[str, str]) -> str:
    if not workers:
        return f"waits: no worker of pool {pool} is known; start an agent with one, or submit to another pool"
    ready = sum(worker.state is WorkerState.READY for worker in workers)
    if not ready:
        states = Counter(worker.state.value for worker in workers)
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return f"waits: none of the workers of pool {pool} is ready ({told}); see comfyfleet workers"
    able = len(workers) - len(obstacles)
    if not able:
        first = next(worker.info.id for worker in workers if worker.state is WorkerState.READY)
        return f"waits: none of the workers of pool {pool} that are ready can run it: {first} {obstacles[first]}"
    return (
        f"waits: {_counted(ahead, 'run')} of pool {pool} arrived earlier, {ready} of {len(workers)} workers are ready"
        + (f", {able} can run it" if able < ready else "")
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
