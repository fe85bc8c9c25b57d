"""The port to the shared state: the verbs of the domain, and nothing of Redis.

Narrow protocols, so that a collaborator asks for what it uses; `Store` is all of them. The one implementation
is store/redis.py; simulations bring their own. Every verb that changes a run compares its state *and* attempt in the
store, and raises Superseded to whoever comes late. Times are Unix seconds by the store's clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from orchestrator.domain.asset import Asset, Output
from orchestrator.domain.event import Event
from orchestrator.domain.job import Job, JobError, JobSpec, JobStatus, Priority, Progress
from orchestrator.domain.needs import Content, ModelRef
from orchestrator.domain.quality import Judgement, Patch, Score
from orchestrator.domain.run import QueueEntry, Run, RunState
from orchestrator.domain.warmup import Warmed, Warmup
from orchestrator.domain.worker import Residency, Worker, WorkerChange, WorkerEvent, WorkerInfo, WorkerState
from orchestrator.domain.workflow import Workflow
from orchestrator.store.clients_port import ClientStore, Frame, Posted
from orchestrator.store.costs_port import CostStore

Graph = Mapping[str, Any]
Contents = Mapping[ModelRef, Content]


# --- jobs ---


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
    oldest_queued_at: Mapping[str, float]  # by pool, of those where something waits
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
    async def queue_position(self, job_id: str) -> int | None:
        """Runs of the same pool that arrived earlier; None when it is not queued."""
        ...

    async def counts(self) -> Counts: ...


# --- runs, as an agent's drivers move them ---


@dataclass(frozen=True, slots=True)
class Order:
    """All that a driver needs to execute a run."""

    run: Run
    spec: JobSpec
    graph: Graph
    extra_data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    shown: tuple[Output, ...] = ()  # what watchers of the job have seen already
    secrets: Callable[[], Mapping[str, str]] = dict[str, str]
    """Given to ComfyUI like extra_data, and kept nowhere else: the store has them encrypted, until the job ends. Raises
    Permanent("sealed") where this process was not given the secret that opens them."""


@dataclass(frozen=True, slots=True)
class RunKey:
    """Names a run as its holder knows it: what the store fences by."""

    run_id: str
    attempt: int
    worker: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run leaves. Its files are in storage already, under the run's own path."""

    outputs: tuple[Output, ...]
    execute_s: float  # started to executed
    load_s: float  # the estimated share of execute_s that went into loading models
    residency: Residency
    scores: Mapping[str, Score] = field(default_factory=dict[str, Score])  # by dimension, where the job has a gate
    scoring_s: float = 0.0  # of execute_s
    shown: tuple[Output, ...] = ()  # of it, or of an earlier run, what watchers have seen already
    nodes: Mapping[str, float] = field(default_factory=dict[str, float])  # seconds by node id; see Sample


class MailKind(StrEnum):
    ASSIGN = "assign"
    CANCEL = "cancel"
    FREE = "free"
    WARM = "warm"
    PREFETCH = "prefetch"


@dataclass(frozen=True, slots=True)
class Mail:
    """A hint to an agent that something waits for it; what is true, `heartbeat` tells."""

    kind: MailKind
    worker: str
    run_id: str | None = None
    files: tuple[ModelRef, ...] = ()  # to have in RAM, in this order; what it was told before holds no more


@dataclass(frozen=True, slots=True)
class Duties:
    """What the store thinks a worker has: the truth that a driver reconciles itself with at every heartbeat."""

    epoch: int
    runs: tuple[str, ...]
    canceling: tuple[str, ...]  # those of `runs` whose job is to stop
    state: WorkerState  # which an operator may have changed
    residency: Residency = field(
        default_factory=Residency
    )  # what it held when it was last told of; by `register` alone


class RunStore(Protocol):
    """What an agent does with workers and runs."""

    async def register(self, info: WorkerInfo) -> Duties:
        """Takes the worker over: a new epoch, state starting, and the runs it had, to be adopted or given up."""
        ...

    async def heartbeat(self, worker_id: str, epoch: int) -> Duties:
        """Renews the lease. Raises Superseded when another agent took the worker over, or its lease was reaped."""
        ...

    async def inspected(self, info: WorkerInfo, epoch: int, object_info: bytes, models: Contents) -> None:
        """Its ComfyUI answers: ready. `object_info` is kept by its digest, and so is what its models are."""
        ...

    async def report_models(self, worker_id: str, epoch: int, models: Contents) -> None:
        """More is known of what its model files are. Raises Superseded."""
        ...

    async def report_residency(self, worker_id: str, epoch: int, residency: Residency) -> None:
        """What it holds now, other than the end of a run tells. Raises Superseded."""
        ...

    async def warmup(self, worker_id: str, warmup_id: str) -> Warmup | None:
        """What the worker is to warm up with; None: not any more."""
        ...

    async def warmed(self, worker_id: str, epoch: int, warmup_id: str, warmed: Warmed, residency: Residency) -> None:
        """The warm-up is over, and left this in the worker's memory. Raises Superseded."""
        ...

    async def report_worker(self, worker_id: str, epoch: int, event: WorkerEvent | None, note: str) -> None:
        """What happened to it, or (None) only what there is to say of the state that it is in. RESUME leaves a worker
        that an operator drained as it is. Raises Superseded, also for an event that its state does not allow."""
        ...

    async def lost_worker(self, worker_id: str, epoch: int, note: str) -> None:
        """Its ComfyUI or its agent is gone: state down. Its runs are the caller's to end (or the reaper's)."""
        ...

    def mail(self, agent: str) -> AsyncIterator[Mail]: ...

    async def order(self, run_id: str) -> Order: ...
    async def start(self, key: RunKey, since_staged_s: float = 0.0) -> None:
        """It executes. `since_staged_s`: how long ago its inputs were there and its graph was posted."""
        ...

    async def progress(self, key: RunKey, progress: Progress) -> None: ...
    async def show(self, key: RunKey, visible: Sequence[Output], shown: Sequence[Output]) -> None:
        """Outputs that it made are to be seen before it is over, where the job does not choose among candidates. Who
        has seen `shown` is told of what is new. Raises Superseded."""
        ...

    async def relay(self, key: RunKey, frames: Sequence[Frame], history: Mapping[str, Any] | None = None) -> None:
        """Passes on what ComfyUI says of a run whose job has an origin; `history`: the entry that it ended with."""
        ...

    async def preview(self, job_id: str, event: Event) -> None:
        """Live only: whoever watches now sees it, nobody later."""
        ...

    async def commit(self, key: RunKey, result: Result) -> None:
        """The one way a result becomes visible: at once, or when the job's gate lets it pass. Raises Superseded if the
        run is not this holder's any more."""
        ...

    async def fail(self, key: RunKey, error: JobError) -> None:
        """It would fail anywhere: so does its job, or, where that has a gate, one candidate."""
        ...

    async def retry(
        self, key: RunKey, outcome: str, *, error: JobError, free: bool = False, vram_over: int = 0
    ) -> str | None:
        """Ends the run as lost (or, `free`, as returned: no retry is spent) and queues the next attempt, whose id is
        answered; with no retries left the job fails with `error`, and None is answered. `vram_over`: only for a worker
        with more bytes of VRAM than that."""
        ...

    async def stopped(self, key: RunKey) -> None:
        """The run is confirmed not to execute after its job was canceled: job canceled."""
        ...


# --- dispatching ---


class FeedKind(StrEnum):
    QUEUED = "queued"  # entry
    GONE = "gone"  # run_id left the queue without being assigned
    ASSIGNED = "assigned"  # run_id, worker
    STARTED = "started"  # run_id, worker
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


# --- judging ---


@dataclass(frozen=True, slots=True)
class Deliver:
    """The job succeeds with these; what of it still waits or executes is stopped."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class MoreCandidates:
    patches: tuple[Patch, ...]


@dataclass(frozen=True, slots=True)
class AskPerson:
    """The job is listed among the reviews; nobody needs to look at it again within `within_s`."""

    within_s: float


@dataclass(frozen=True, slots=True)
class FailJob:
    error: JobError


Conclusion = Deliver | MoreCandidates | AskPerson | FailJob


@dataclass(frozen=True, slots=True)
class PendingReview:
    job_id: str
    due_in_s: float  # less than nothing: it is overdue


class JudgeStore(Protocol):
    """What becomes of jobs that have a gate."""

    def unjudged(self) -> AsyncIterator[str]:
        """Jobs of which a candidate has ended since they were judged: those there are, then each as it comes."""
        ...

    async def conclude(self, job_id: str, ended: int, judgement: Judgement, conclusion: Conclusion | None) -> bool:
        """Carries out what was decided when `ended` candidates had come to their end (None: nothing is to be done
        yet). False, and nothing done, if more have since, or the job is not to go on."""
        ...

    async def reviews(self) -> Sequence[PendingReview]:
        """Those that wait for a person, the first to be due first."""
        ...


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


# --- catalog: workflows, assets, what workers offer ---


class CatalogStore(Protocol):
    """Workflows, assets and what the workers can do."""

    async def register_workflow(self, workflow: Workflow) -> Workflow:
        """Equal content answers the version that has it; new content becomes the next version, and active.
        `workflow.version` is ignored."""
        ...

    async def activate(self, name: str, version: int) -> None: ...
    async def workflow(self, name: str, version: int | None = None) -> Workflow:
        """The given version, or the active one. NotFound otherwise."""
        ...

    async def workflows(self) -> Mapping[str, int]:
        """Name -> active version."""
        ...

    async def versions(self, name: str) -> Sequence[Workflow]: ...

    async def workers(self) -> Sequence[Worker]: ...
    async def worker(self, worker_id: str) -> Worker: ...
    async def move_worker(self, worker_id: str, event: WorkerEvent) -> Worker:
        """DRAIN, RESUME or RECYCLE, by an operator. Raises Conflict("worker_state") where its state has no such way."""
        ...

    async def worker_changes(self, worker_id: str) -> Sequence[WorkerChange]:
        """What it went through lately, newest first."""
        ...

    async def post(self, mail: Mail) -> None:
        """Leaves mail for the worker's agent."""
        ...

    async def object_info(self, catalog: str) -> bytes | None: ...
    async def models(self, digest: str) -> Contents:
        """What `Worker.models` is the digest of; nothing, where that is gone."""
        ...

    async def put_asset(self, asset: Asset) -> Asset:
        """Records it, or renews the retention of what has the same content already."""
        ...

    async def asset(self, asset_id: str) -> Asset: ...
    async def drop_asset(self, asset_id: str) -> Asset:
        """Moves it to deleting, whoever uses it; its blob is the caller's to delete. Raises NotFound."""
        ...

    async def lapsed_assets(self, retention_s: float, limit: int = 100) -> Sequence[Asset]:
        """Moves unreferenced assets past their retention to deleting; their blobs are the caller's to delete."""
        ...

    async def swept_asset(self, asset_id: str) -> None: ...


class Store(JobStore, ClientStore, RunStore, JudgeStore, DispatchStore, CatalogStore, CostStore, Protocol):
    async def ping(self) -> None:
        """Raises Busy("store_unavailable") when Redis does not answer or does not take writes."""
        ...

    async def close(self) -> None: ...
