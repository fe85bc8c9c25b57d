"""Jobs, their runs and outputs."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.api.fleet.views.outputs import OutputView, output_view, outputs_url
from orchestrator.api.fleet.views.quality import QualityView, quality_view
from orchestrator.api.fleet.views.times import between, iso, iso_or_null
from orchestrator.domain.job import Job, JobError, JobStatus, Priority, Progress
from orchestrator.domain.run import Run, RunState, Timings


@described
class TimingsView(TypedDict):
    """Seconds; null while it is not known yet."""

    queued: float | None
    """Waiting in the fleet's queue."""
    staged: float | None
    """Inputs copied to the worker, and the graph posted to it."""
    load: float | None
    """The estimated share of `executed` that went into loading models."""
    executed: float | None
    delivered: float | None
    """Outputs collected, stored and committed."""


@described
class JobTimingsView(TimingsView):
    """Those of its last run."""

    total: float | None
    """From the submission to the end of the job."""


@described
class RunView(TypedDict):
    """One execution of the job's graph on one worker."""

    id: str
    slot: int
    """Which candidate of the job; 0 where there is only one."""
    attempt: int
    worker: str | None
    state: RunState
    outcome: str | None
    """Why it ended as it did; null while it goes well."""
    lock: str | None
    """Digest of the lock that its worker conforms to; null: it has none."""
    placement: dict[str, Any]
    """Why this worker, and why not the others."""
    timings: TimingsView
    cost: float | None


@described
class ProgressView(TypedDict):
    value: float
    """0 to 1; never falls."""
    nodes_done: int
    nodes_total: int
    node: str | None
    node_class: str | None
    step: int | None
    steps: int | None


@described
class ErrorView(TypedDict):
    """Why the job failed."""

    code: str
    message: str
    node_id: str | None
    class_type: str | None
    traceback: str | None
    details: dict[str, Any]


@described
class JobView(TypedDict):
    id: str
    status: JobStatus
    workflow: str | None
    """null: a raw graph."""
    version: int | None
    pool: str
    tenant: str
    priority: Priority
    params: dict[str, Any]
    """With defaults and drawn seeds filled in."""
    metadata: dict[str, str]
    created_at: str
    started_at: str | None
    completed_at: str | None
    deadline_at: str | None
    queue_position: int | None
    """Runs of its pool before it, by arrival and priority; null unless it is queued, and while it is submitted."""
    progress: ProgressView | None
    timings: JobTimingsView
    runs: list[RunView]
    outputs: list[OutputView]
    cost: float | None
    """Dollars, where the rates of its workers are known."""
    quality: QualityView | None
    """Where the workflow has a gate."""
    error: ErrorView | None


@described
class JobsView(TypedDict):
    jobs: list[JobView]
    """Newest first."""
    next_cursor: str | None


def job_view(job: Job) -> JobView:
    spec = job.spec
    costs = [run.cost for run in job.runs if run.cost is not None]
    return {
        "id": spec.id,
        "status": job.status,
        "workflow": spec.workflow,
        "version": spec.version,
        "pool": spec.pool,
        "tenant": spec.tenant,
        "priority": spec.priority,
        "params": dict(spec.params),
        "metadata": dict(spec.metadata),
        "created_at": iso(spec.created_at),
        "started_at": iso_or_null(job.started_at),
        "completed_at": iso_or_null(job.completed_at),
        "deadline_at": iso_or_null(spec.deadline_at),
        "queue_position": job.queue_position if job.status is JobStatus.QUEUED else None,
        "progress": _progress_view(job.progress) if job.progress else None,
        "timings": {
            **_timings_view(job.runs[-1].timings, job.runs[-1].load_s),
            "total": between(spec.created_at, job.completed_at),
        },
        "runs": [run_view(run) for run in job.runs],
        "outputs": [output_view(outputs_url(spec.id), n, output) for n, output in enumerate(job.outputs)],
        "cost": sum(costs) if costs else None,
        "quality": quality_view(job),
        "error": _error_view(job.error) if job.error else None,
    }


def run_view(run: Run) -> RunView:
    return {
        "id": run.id,
        "slot": run.slot,
        "attempt": run.attempt,
        "worker": run.worker,
        "state": run.state,
        "outcome": run.outcome,
        "lock": run.lock,
        "placement": dict(run.reasons),
        "timings": _timings_view(run.timings, run.load_s),
        "cost": run.cost,
    }


def _timings_view(times: Timings, load_s: float | None) -> TimingsView:
    return {
        "queued": between(times.queued_at, times.assigned_at),
        "staged": between(times.assigned_at, times.staged_at),
        "load": load_s,
        "executed": between(times.started_at, times.executed_at),
        "delivered": between(times.executed_at, times.ended_at),
    }


def _progress_view(progress: Progress) -> ProgressView:
    return {
        "value": progress.value,
        "nodes_done": progress.nodes_done,
        "nodes_total": progress.nodes_total,
        "node": progress.node,
        "node_class": progress.node_class,
        "step": progress.step,
        "steps": progress.steps,
    }


def _error_view(error: JobError) -> ErrorView:
    return {
        "code": error.code,
        "message": error.message,
        "node_id": error.node_id,
        "class_type": error.class_type,
        "traceback": error.traceback,
        "details": dict(error.details),
    }
