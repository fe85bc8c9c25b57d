"""Job: what a client asked for, sees and pays for. Its only writer is the store's Lua, from this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from orchestrator.domain.asset import Output
from orchestrator.domain.machine import reachable_ends
from orchestrator.domain.quality import Gate, Judgement
from orchestrator.domain.run import DEFAULT_TENANT, Run


class JobStatus(StrEnum):
    """The status words of Comfy API v2."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELING = "canceling"
    CANCELED = "canceled"
    FAILED = "failed"
    EXPIRED = "expired"


class JobEvent(StrEnum):
    START = "start"  # a run of it began to execute
    SUCCEED = "succeed"  # its result is committed
    FAIL = "fail"  # it cannot succeed any more
    CANCEL = "cancel"  # somebody asked to stop it
    STOP = "stop"  # its last run is confirmed to have stopped after a cancel
    EXPIRE = "expire"  # its deadline passed


# A retry on another worker does not take a job back to queued: whoever watches saw it start.
TRANSITIONS: Mapping[tuple[JobStatus, JobEvent], JobStatus] = {
    (JobStatus.QUEUED, JobEvent.START): JobStatus.RUNNING,
    (JobStatus.QUEUED, JobEvent.SUCCEED): JobStatus.SUCCEEDED,
    (JobStatus.QUEUED, JobEvent.FAIL): JobStatus.FAILED,
    (JobStatus.QUEUED, JobEvent.CANCEL): JobStatus.CANCELING,
    (JobStatus.QUEUED, JobEvent.EXPIRE): JobStatus.EXPIRED,
    (JobStatus.RUNNING, JobEvent.START): JobStatus.RUNNING,
    (JobStatus.RUNNING, JobEvent.SUCCEED): JobStatus.SUCCEEDED,
    (JobStatus.RUNNING, JobEvent.FAIL): JobStatus.FAILED,
    (JobStatus.RUNNING, JobEvent.CANCEL): JobStatus.CANCELING,
    (JobStatus.RUNNING, JobEvent.EXPIRE): JobStatus.EXPIRED,
    (JobStatus.CANCELING, JobEvent.CANCEL): JobStatus.CANCELING,
    (JobStatus.CANCELING, JobEvent.STOP): JobStatus.CANCELED,
    (JobStatus.CANCELING, JobEvent.EXPIRE): JobStatus.CANCELED,
}

TERMINAL = reachable_ends(TRANSITIONS, JobStatus)


class Priority(StrEnum):
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whence a job came that was posted to ComfyUI's own API."""

    peer: str  # network address
    number: float  # its place in the queue, as ComfyUI counts: the lowest goes first
    client_id: str | None = None  # whose websocket is told what its ComfyUI says


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What was submitted, completed by the intake; never changes. Times are Unix seconds."""

    id: str
    pool: str
    priority: Priority
    timeout_s: float  # execution budget of one run
    retries: int  # how many runs may be lost or fail retryably before the job fails
    created_at: float
    workflow: str | None = None  # None: a raw graph
    version: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])  # with defaults and the drawn seed
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])  # the caller's labels
    deadline_at: float | None = None
    tenant: str = DEFAULT_TENANT  # on whose account it is: tenants share the fleet by weight
    outputs: tuple[str, ...] = ()  # node ids whose files are delivered; empty: every output node
    gate: Gate | None = None  # None: what its one run makes is delivered as it is
    origin: Origin | None = None
    traceparent: str | None = None  # W3C's, of the request: whoever works on it goes on with that trace

    def dated(self, created_at: float) -> JobSpec:
        """As created at that moment by the store's clock, which replaces the submitter's."""
        deadline_at = None if self.deadline_at is None else self.deadline_at + created_at - self.created_at
        return replace(self, created_at=created_at, deadline_at=deadline_at)

    @property
    def targets(self) -> tuple[str, ...]:
        """Node ids that are executed for; empty: every output node."""
        return (*self.outputs, self.gate.report) if self.outputs and self.gate else self.outputs


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the current run is. `value` is 0..1 and never falls within a job."""

    value: float
    nodes_done: int
    nodes_total: int
    node: str | None = None
    node_class: str | None = None
    step: int | None = None
    steps: int | None = None

    def completed(self) -> Progress:
        """The same when all is done: its last steps are not told of, as its result is."""
        return Progress(1.0, self.nodes_total, self.nodes_total)


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, for the person who reads it. `traceback` comes from ComfyUI."""

    code: str
    message: str
    node_id: str | None = None
    class_type: str | None = None
    traceback: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands in the store."""

    spec: JobSpec
    status: JobStatus
    runs: tuple[Run, ...]  # oldest first
    started_at: float | None = None
    completed_at: float | None = None
    progress: Progress | None = None
    outputs: tuple[Output, ...] = ()  # while it runs: what may be seen by now, see showing.py
    error: JobError | None = None
    judgement: Judgement | None = None  # of a job with a gate, once a candidate has ended
    ended: int = 0  # how many of its candidates have come to their end
    queue_position: int | None = None  # runs of its pool before its last one; None unless that is queued

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL
