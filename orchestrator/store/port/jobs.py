"""Jobs: what the controller submits and asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.domain.event import Event
from orchestrator.domain.job import Job, JobSpec, JobStatus, Priority
from orchestrator.domain.quality import Patch
from orchestrator.domain.run import QueueEntry
from orchestrator.store.port.clients import Posted
from orchestrator.store.port.values import Graph


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key, with the fingerprint of the body that it was first used with."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Submission:
    """All that one commit makes: job + runs + idempotency + queue."""

    spec: JobSpec
    graph: Graph  # patched, ready to run but for staging
    entry: QueueEntry
    idempotency: Idempotency | None = None
    candidates: tuple[Patch, ...] = ()  # the runs beyond the first, where the job has a gate
    if_active: bool = False  # refuse with Conflict("workflow_moved") unless spec.version is still the active one
    posted: Posted | None = None  # for a job with an origin
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)  # see Order


@dataclass(frozen=True, slots=True)
class Submitted:
    """`created` is False when an earlier submission with the same key and body made the job. `created_at` is None where
    only reading the job can tell."""

    job_id: str
    created: bool
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class JobQuery:
    status: JobStatus | None = None
    workflow: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    owner: str | None = None  # see `owners`
    active: bool = False  # only those that have not ended; only together with an owner
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    jobs: tuple[Job, ...]  # newest first
    cursor: str | None  # None: no more


@dataclass(frozen=True, slots=True)
class Counts:
    jobs: Mapping[JobStatus, int]
    queued: Mapping[tuple[str, Priority], int]  # runs in the queue, by pool and priority
    oldest_queued_at: Mapping[tuple[str, Priority], float]  # by pool and priority, of those where something waits
    ended: Mapping[tuple[str, JobStatus], int]  # since the fleet began, by workflow; raw graphs are "(graph)"


class Watch(Protocol):
    """Live events of the topics that were added to it, previews included: of a job by its id, or one of those that
    clients_port.py names. One per controller, fanned out there."""

    async def add(self, topic: str) -> None: ...
    async def remove(self, topic: str) -> None: ...
    def __aiter__(self) -> AsyncIterator[tuple[str, Event]]: ...
    async def close(self) -> None: ...


class JobStore(Protocol):
    """What the controller asks about jobs."""

    async def submit(self, submission: Submission) -> Submitted:
        """Commits durably.

        Raises InvalidRequest("idempotency_key_reuse"), Busy("queue_full"), Conflict("workflow_moved").
        """
        ...

    async def submitted(self, idempotency: Idempotency) -> str | None:
        """The job that this key and body made already, if any. Raises InvalidRequest("idempotency_key_reuse")."""
        ...

    async def job(self, job_id: str) -> Job: ...
    async def jobs(self, query: JobQuery) -> JobPage: ...
    def ended_between(self, since: float, until: float) -> AsyncIterator[Sequence[Job]]:
        """Those that are kept and ended at `since` or later, and before `until`; page by page."""
        ...

    async def graph(self, job_id: str) -> Graph:
        """What the job executes, as it was submitted: assets are not files yet."""
        ...

    async def cancel(self, job_id: str) -> Job:
        """Idempotent; a job that has ended is returned as it is."""
        ...

    async def events(self, topic: str, after: str | None = None) -> Sequence[Event]: ...
    async def last_event(self, job_id: str) -> str | None:
        """The id of its newest event; None where none are kept."""
        ...

    async def watch(self) -> Watch: ...
    async def counts(self) -> Counts: ...
