"""Workers and runs, as an agent moves them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from orchestrator.domain.asset import Output
from orchestrator.domain.event import Event
from orchestrator.domain.job import JobError, JobSpec, Progress
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.quality import Score
from orchestrator.domain.run import Run
from orchestrator.domain.warmup import Warmed, Warmup
from orchestrator.domain.worker import Residency, WorkerEvent, WorkerInfo, WorkerState
from orchestrator.store.port.clients import Frame
from orchestrator.store.port.values import Contents, Graph


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
    PREFETCH = "prefetch"  # have these files in RAM
    FETCH = "fetch"  # have these files on disk


@dataclass(frozen=True, slots=True)
class Mail:
    """A hint to an agent that something waits for it; what is true, `heartbeat` tells."""

    kind: MailKind
    worker: str
    run_id: str | None = None
    files: tuple[ModelRef, ...] = ()  # in this order; what mail of this kind told before holds no more


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
    async def executed(self, key: RunKey) -> None:
        """Its worker could execute another one: its outputs are under way. Raises Superseded."""
        ...

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
