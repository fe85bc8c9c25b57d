"""Why a job is where it is: in one sentence, then run by run with the reasons that the dispatcher kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.api.fleet.views.jobs import RunView, run_view
from orchestrator.domain.job import Job, JobStatus
from orchestrator.domain.outlook import Awaited, Outlook
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
class AccountView(TypedDict):
    """How the tenant of a queued run stands in its pool. Seconds are GPU-seconds, divided by the tenant's weight."""

    tenant: str
    weight: float
    portion: float
    """Of the pool that is due to it, as there are now others with queued runs: 0.5 is half of it."""
    had_s: float
    """What it has had, as far as that still counts: what it had while nobody else waited is forgotten."""
    level_s: float
    """What that is measured by: who has had less is behind, who has had more is ahead."""
    allowed_s: float
    """By so much it may be ahead."""
    within: bool
    """Whether the run is within its share. If not, it goes behind all runs that are within theirs."""
    queued: int
    """Queued runs of the tenant."""
    queued_within: int
    """Those of them that are within its share."""
    first: int
    """Queued runs of all tenants that are within their shares."""


@described
class AwaitedView(TypedDict):
    """A worker that the job's run waits for, though another could take it."""

    worker: str
    at_most_s: float
    """From now on; then it waits no more."""
    why: str


@described
class ExplanationView(TypedDict):
    job: str
    status: JobStatus
    summary: str
    pool: str
    queue_position: int | None
    account: AccountView | None
    """While a run is queued and a controller dispatches."""
    waits_for: AwaitedView | None
    runs: list[RunView]
    workers: list[CandidateView]


def explanation_view(
    job: Job,
    workers: Sequence[Worker],
    obstacles: Mapping[str, str],
    outlook: Outlook | None,
) -> ExplanationView:
    """`workers` are those of the job's pool; `obstacles` says of some why they cannot take its queued run, `outlook`
    where that stands."""
    awaited = outlook.awaited if outlook else None
    return {
        "job": job.spec.id,
        "status": job.status,
        "summary": _summary(job, workers, obstacles, outlook),
        "pool": job.spec.pool,
        "queue_position": job.queue_position,
        "account": _account(outlook) if outlook else None,
        "waits_for": _awaited(awaited) if awaited else None,
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


def _account(outlook: Outlook) -> AccountView:
    return {
        "tenant": outlook.tenant,
        "weight": outlook.weight,
        "portion": round(outlook.portion, 3),
        "had_s": round(outlook.had_s, 1),
        "level_s": round(outlook.level_s, 1),
        "allowed_s": outlook.allowed_s,
        "within": outlook.within,
        "queued": outlook.queued,
        "queued_within": outlook.queued_within,
        "first": outlook.first,
    }


def _awaited(awaited: Awaited) -> AwaitedView:
    untried = "nobody knows yet how long such a run takes, and it is about to show that"
    warm = "it holds the models in memory, and should be done with the run sooner than another could load them"
    return {
        "worker": awaited.worker,
        "at_most_s": round(awaited.at_most_s, 1),
        "why": untried if awaited.untried else warm,
    }


def _summary(
    job: Job,
    workers: Sequence[Worker],
    obstacles: Mapping[str, str],
    outlook: Outlook | None,
) -> str:
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
    return _why_queued(job.spec.pool, job.queue_position or 0, workers, obstacles) + _where(outlook)


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
    return f"waits: {_counted(ahead, 'run')} of pool {pool} before it, {ready} of {len(workers)} workers are ready" + (
        f", {able} can run it" if able < ready else ""
    )


def _where(outlook: Outlook | None) -> str:
    """How its tenant stands, where others wait too, and whom it waits for."""
    if outlook is None:
        return ""
    share = f"the share of tenant {outlook.tenant}, which is {outlook.portion:.0%} of the pool"
    words = ""
    if not outlook.within:
        ahead_s = outlook.had_s - outlook.level_s
        stands = f"{abs(ahead_s):.0f} GPU-seconds {'ahead' if ahead_s >= 0 else 'behind'}"
        words = (
            f"; it is beyond {share} ({stands} of the others, where {outlook.allowed_s:.0f} ahead are allowed; "
            f"{_counted(outlook.queued_within, 'run')} of its own within the share): it waits behind the "
            f"{_counted(outlook.first, 'run')} within their tenants' shares, until others have caught up or nobody "
            "else can use a worker"
        )
    elif outlook.portion < 1:
        words = f"; it is within {share}"
    if outlook.awaited is not None:
        its = _awaited(outlook.awaited)
        words += f"; it waits for {its['worker']}, {its['at_most_s']:.0f} s at most: {its['why']}"
    return words


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
