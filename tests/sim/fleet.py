"""A fleet in memory: a store that keeps the port's promises, and workers that load models and take their time.

The store does what the Lua scripts do, seen from the dispatcher: it checks every assignment again, and tells what
changed through the feed, late. Everything random comes from one seed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from orchestrator.domain.ids import uuid7
from orchestrator.domain.job import JobError
from orchestrator.domain.needs import Content, ModelRef, Needs
from orchestrator.domain.outlook import Outlook
from orchestrator.domain.run import QueueEntry, RunState
from orchestrator.domain.worker import Residency, Worker, WorkerInfo, WorkerKind, WorkerState
from orchestrator.errors import NotFound, Retryable
from orchestrator.store.port import Assignment, FeedItem, FeedKind, Mail, Question, RunEnd, Snapshot

GB = 1_000_000_000
EPOCH = 1_800_000_000.0  # the store's clock when the loop's shows 0
DISK_BYTES_S = 2 * GB
CHECKPOINTS = "checkpoints"


def clock() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Record:
    """A run, and what became of it."""

    entry: QueueEntry
    state: str = "queued"
    worker: str | None = None
    waited_s: float | None = None
    ended_at: float | None = None
    reasons: Mapping[str, Any] = field(default_factory=dict)


class MemoryStore:
    """What the dispatcher asks of the store."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.runs: dict[str, Record] = {}
        self.fleet: dict[str, Worker] = {}
        self.machines: dict[str, Machine] = {}
        self.catalogs: dict[str, bytes] = {}
        self.refused: dict[str, JobError] = {}
        self.learned: bytes | None = None
        self.leader: str | None = None
        self.mails: list[Mail] = []
        self.assign_calls = 0
        self.not_assigned = 0
        self.lag_s = 0.001
        self._items: list[FeedItem] = []
        self._trimmed = 0
        self._more = asyncio.Event()

    # What tests do

    def submit(
        self, model: str | None, *, seconds: float = 1.0, priority: str = "normal", pool: str = "default"
    ) -> str:
        """Queues a run that needs this checkpoint, and executes for so long."""
        run_id = uuid7(int((EPOCH + clock()) * 1000), self.random.getrandbits(74))
        models = (ModelRef(CHECKPOINTS, model),) if model else ()
        entry = QueueEntry(
            run_id, run_id, 1, pool, priority, EPOCH + clock(), f"{model}/{seconds}@1", Needs(("Sampler",), models)
        )
        self._queue(entry)
        return run_id

    def cancel(self, run_id: str) -> None:
        """As a client does, of a run that waits."""
        record = self.runs[run_id]
        if record.state == "queued":
            record.state = "canceled"
            self.tell(FeedKind.GONE, run_id=run_id)

    def add_worker(
        self, worker_id: str, models: Sequence[str] = ("a.safetensors", "b.safetensors"), **options: Any
    ) -> Machine:
        """A worker that is ready at once and has these checkpoints on its disk."""
        kind, pool = options.pop("kind", WorkerKind.ATTACHED), options.pop("pool", "default")
        info = WorkerInfo(worker_id, "http://worker", pool, "agent", kind, vram_bytes=8 * GB)
        inputs = {"required": {"ckpt_name": [list(models), {}]}}
        catalog = orjson.dumps({"CheckpointLoaderSimple": {"input": inputs}, "Sampler": {"input": {}}})
        digest = f"catalog-{'-'.join(models)}"
        self.catalogs[digest] = catalog
        self.fleet[worker_id] = Worker(replace(info, catalog=digest), WorkerState.READY, 1, models="models")
        machine = self.machines[worker_id] = Machine(self, worker_id, **options)
        self.tell(FeedKind.WORKER, worker=worker_id)
        return machine

    def move_worker(self, worker_id: str, state: WorkerState) -> None:
        self.fleet[worker_id] = replace(self.fleet[worker_id], state=state)
        self.tell(FeedKind.WORKER, worker=worker_id)

    def trim_feed(self) -> None:
        """What was not read yet is lost to whoever did not read it."""
        self._trimmed = len(self._items)
        self.tell(FeedKind.WORKER, worker=next(iter(self.fleet)))

    def tell(self, kind: FeedKind, **fields: Any) -> None:
        self._items.append(FeedItem(len(self._items) + 1, kind, **fields))
        self._more.set()

    def states(self) -> Counter[str]:
        return Counter(record.state for record in self.runs.values())

    async def settled(self) -> None:
        """Until no run is queued or on a worker."""
        while any(record.state in ("queued", "assigned", "running") for record in self.runs.values()):
            await asyncio.sleep(0.5)

    # What machines do

    def began(self, run_id: str) -> None:
        record = self.runs[run_id]
        record.state = "running"
        record.waited_s = EPOCH + clock() - record.entry.arrived_at
        self.tell(FeedKind.STARTED, run_id=run_id, worker=record.worker)

    def ended(self, run_id: str, state: RunState, **told: Any) -> None:
        record = self.runs[run_id]
        record.state, record.ended_at = state, clock()
        end = RunEnd(state, **told)
        self.tell(FeedKind.ENDED, run_id=run_id, worker=record.worker, entry=record.entry, end=end)

    def lost(self, run_id: str) -> None:
        """The run goes back to the queue as its next attempt, to be kept from this worker."""
        record = self.runs[run_id]
        assert record.worker is not None
        self.ended(run_id, RunState.LOST)
        next_id = uuid7(int((EPOCH + clock()) * 1000), self.random.getrandbits(74))
        was = record.entry
        self._queue(replace(was, run_id=next_id, attempt=was.attempt + 1, avoid=(*was.avoid, record.worker)))

    def _queue(self, entry: QueueEntry) -> None:
        self.runs[entry.run_id] = Record(entry)
        self.tell(FeedKind.QUEUED, run_id=entry.run_id, entry=entry)

    # The port

    async def lead(self, controller: str) -> bool:
        self.leader = self.leader or controller
        return self.leader == controller

    async def resign(self, controller: str) -> None:
        if self.leader == controller:
            self.leader = None

    async def snapshot(self) -> Snapshot:
        seq = len(self._items)
        await asyncio.sleep(self.lag_s)  # what is read below may be newer than seq
        queued = [record.entry for record in self.runs.values() if record.state == "queued"]
        running = [
            (record.worker, record.entry)
            for record in self.runs.values()
            if record.worker and record.state in ("assigned", "running")
        ]
        return Snapshot(seq, _paged(queued), running, list(self.fleet.values()), self.learned)

    async def feed(self, after: int) -> AsyncIterator[Sequence[FeedItem]]:
        while True:
            while after >= len(self._items):
                self._more.clear()
                await self._more.wait()
            await asyncio.sleep(self.lag_s)
            if after < self._trimmed:
                raise Retryable("feed_gap", "trimmed")
            items = self._items[after : after + 1000]
            after = items[-1].seq
            yield items

    async def assign(self, assignments: Sequence[Assignment]) -> Sequence[bool]:
        self.assign_calls += 1
        await asyncio.sleep(self.lag_s)
        return [self._assign(assignment) for assignment in assignments]

    def _assign(self, assignment: Assignment) -> bool:
        record = self.runs[assignment.run_id]
        ready = self.fleet[assignment.worker].state is WorkerState.READY
        if record.state != "queued" or record.entry.attempt != assignment.attempt or not ready:
            self.not_assigned += 1
            return False
        record.state, record.worker, record.reasons = "assigned", assignment.worker, assignment.reasons
        self.tell(FeedKind.ASSIGNED, run_id=assignment.run_id, worker=assignment.worker)
        self.machines[assignment.worker].take(assignment.run_id)
        return True

    async def refuse(self, run_id: str, attempt: int, error: JobError) -> None:
        self.refused[run_id] = error
        self.runs[run_id].state = "failed"
        self.tell(FeedKind.GONE, run_id=run_id)

    async def save_learned(self, blob: bytes) -> None:
        self.learned = blob

    async def object_info(self, catalog: str) -> bytes | None:
        return self.catalogs.get(catalog)

    async def models(self, digest: str) -> Mapping[ModelRef, Content]:
        return {ModelRef(CHECKPOINTS, f"{name}.safetensors"): Content(6 * GB) for name in "abc"}

    async def post(self, mail: Mail) -> None:
        self.mails.append(mail)

    async def outlook(self, run_id: str, within_s: float) -> Outlook | None:
        """Nobody asks."""
        return None

    async def questions(self) -> AsyncIterator[Question]:
        await asyncio.Event().wait()
        yield Question("", "")

    async def answer(self, question: Question, outlook: Outlook | None) -> None:
        return

    async def worker(self, worker_id: str) -> Worker:
        await asyncio.sleep(self.lag_s)
        if worker_id not in self.fleet:
            raise NotFound("worker_not_found", worker_id)
        return self.fleet[worker_id]

    async def reap(self) -> Sequence[str]:
        return ()

    async def lapsed_jobs(self, retention_s: float, limit: int = 100) -> Sequence[str]:
        return ()

    async def forget(self, job_id: str) -> None:
        raise NotFound("job_not_found", job_id)


class Machine:
    """A worker's ComfyUI: one run at a time, one checkpoint in VRAM."""

    def __init__(self, store: MemoryStore, worker_id: str, *, pace: float = 1.0, spread: float = 0.0) -> None:
        self.id = worker_id
        self.pace = pace  # seconds here per second asked for
        self.spread = spread  # sigma of the lognormal noise on execution times
        self.loads: Counter[str] = Counter()
        self.had_at_most = 0
        self._store = store
        self._has: list[str] = []
        self._resident: str | None = None
        self._work = asyncio.Event()
        self._task = asyncio.ensure_future(self._serve())

    def take(self, run_id: str) -> None:
        self._has.append(run_id)
        self.had_at_most = max(self.had_at_most, len(self._has))
        self._work.set()

    def die(self, notice_s: float = 0.0) -> asyncio.Task[None]:
        """Everything in it is lost; the store notices after a while."""
        self._task.cancel()
        return asyncio.ensure_future(self._noticed(notice_s))

    async def _noticed(self, notice_s: float) -> None:
        await asyncio.sleep(notice_s)
        self._store.move_worker(self.id, WorkerState.DOWN)
        for run_id in self._has:
            self._store.lost(run_id)
        self._has.clear()

    def revive(self) -> None:
        self._resident = None
        self._task = asyncio.ensure_future(self._serve())
        self._store.fleet[self.id] = replace(self._store.fleet[self.id], residency=Residency())
        self._store.move_worker(self.id, WorkerState.READY)

    async def _serve(self) -> None:
        while True:
            while not self._has:
                self._work.clear()
                await self._work.wait()
            run_id = self._has[0]
            self._store.began(run_id)
            record = self._store.runs[run_id]
            load_s = await self._load(record.entry.needs.models)
            seconds = float(record.entry.profile.split("/")[1].split("@")[0]) * self.pace
            execute_s = seconds * self._store.random.lognormvariate(0, self.spread)
            await asyncio.sleep(execute_s)
            self._has.pop(0)
            residency = Residency(tuple(record.entry.needs.models))
            worker = self._store.fleet[self.id]
            self._store.fleet[self.id] = replace(worker, residency=residency)
            self._store.ended(
                run_id, RunState.SUCCEEDED, execute_s=load_s + execute_s, load_s=load_s, residency=residency
            )

    async def _load(self, models: Sequence[ModelRef]) -> float:
        if not models or models[0].name == self._resident:
            return 0.0
        self._resident = models[0].name
        self.loads[self._resident] += 1
        load_s = 0.3 + 6 * GB / DISK_BYTES_S
        await asyncio.sleep(load_s)
        return load_s


async def _paged(entries: Sequence[QueueEntry]) -> AsyncIterator[Sequence[QueueEntry]]:
    yield entries
