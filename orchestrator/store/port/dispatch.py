"""What the leading controller does: lead, follow the feed, assign, reap."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from orchestrator.domain.job import JobError
from orchestrator.domain.run import QueueEntry, RunState
from orchestrator.domain.warmup import Warmed, Warmup
from orchestrator.domain.worker import Residency, Worker


class FeedKind(StrEnum):
    QUEUED = "queued"  # entry
    GONE = "gone"  # run_id left the queue without being assigned
    ASSIGNED = "assigned"  # run_id, worker
    STARTED = "started"  # run_id, worker
    EXECUTED = "executed"  # run_id, worker: its outputs are under way
    ENDED = "ended"  # run_id, worker, entry, end
    WORKER = "worker"  # worker changed: read it again
    RESIDENCY = "residency"  # worker, residency
    WARMED = "warmed"  # worker, residency, warmed


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run left its worker. Only one that was committed tells its seconds, and what the worker holds now."""

    state: RunState
    execute_s: float | None = None
    load_s: float | None = None
    residency: Residency | None = None


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One change, in order. Applying an item twice must do no harm: a snapshot may already hold it."""

    seq: int
    kind: FeedKind
    run_id: str | None = None
    worker: str | None = None
    entry: QueueEntry | None = None
    end: RunEnd | None = None
    residency: Residency | None = None
    warmed: Warmed | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a dispatcher starts from. Items of the feed with `seq` above this one follow it."""

    seq: int
    queued: AsyncIterable[Sequence[QueueEntry]]  # read page by page as they are asked for: there may be a million
    running: Sequence[tuple[str, QueueEntry]]  # (worker, entry) of assigned and running runs
    workers: Sequence[Worker]
    learned: bytes | None  # what save_learned was last given


@dataclass(frozen=True, slots=True)
class Assignment:
    run_id: str
    attempt: int
    worker: str
    reasons: Mapping[str, Any]


class DispatchStore(Protocol):
    """What the leading controller does."""

    async def lead(self, controller: str) -> bool:
        """Takes or renews the leader lease; False when another controller holds it."""
        ...

    async def resign(self, controller: str) -> None: ...
    async def snapshot(self) -> Snapshot: ...
    async def entry(self, run_id: str) -> QueueEntry | None:
        """What the scheduler knows of a run; None if there is no such run."""
        ...

    def feed(self, after: int) -> AsyncIterator[Sequence[FeedItem]]:
        """Batches of items, in order; raises Retryable("feed_gap") when some were trimmed: take a new snapshot."""
        ...

    async def assign(self, assignments: Sequence[Assignment]) -> Sequence[bool]:
        """Each re-checked in the store (run queued, attempt, worker ready and leased); False: not done."""
        ...

    async def warm(self, worker_id: str, epoch: int, warmup: Warmup, within_s: float) -> bool:
        """Has a worker warm up. Re-checked in the store (ready and leased, of that epoch, without runs and another
        warm-up); False: not done. After `within_s` the order is void."""
        ...

    async def refuse(self, run_id: str, attempt: int, error: JobError) -> None:
        """Fails the job of a queued run that no worker of its pool can ever execute."""
        ...

    async def save_learned(self, blob: bytes) -> None: ...
    async def reap(self) -> Sequence[str]:
        """One sweep: workers whose lease ran out go down and their runs are requeued; jobs past their deadline expire.
        Answers what was done, in words."""
        ...

    async def lapsed_jobs(self, retention_s: float, limit: int = 100) -> Sequence[str]:
        """Ended jobs older than the retention. Their files are to be deleted first, then `forget`."""
        ...

    async def forget(self, job_id: str) -> None: ...
