"""What a baseline knows: who is up, what each worker has to do and will hold, how long things take.

It is as good as the scheduler's own knowledge and learned by the same estimator, so that policies differ in nothing
but what they do with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Residency, Worker, WorkerState
from orchestrator.scheduling.learned import Learned
from orchestrator.scheduling.memory import Memory
from orchestrator.scheduling.models import Contents, ModelFile, ModelFiles, Offer
from orchestrator.simulator.fleet.policies.port import Orders
from orchestrator.store.port import RunEnd

REMEMBERED = 32  # runs at the end of a worker's line: what it holds after them is what matters to the next


@dataclass(slots=True)
class Task:
    """A run that a worker was given, and what is expected of it, in seconds."""

    files: Sequence[ModelFile]
    load_s: float
    execute_s: float

    @property
    def work_s(self) -> float:
        return self.load_s + self.execute_s


class Desk:
    """A worker."""

    def __init__(self, worker: Worker) -> None:
        self.id = worker.info.id
        self.gpu = worker.info.gpu or ""
        self.up = False
        self.memory = Memory(worker.info.vram_bytes, worker.info.ram_bytes)
        self.tasks: dict[str, Task] = {}  # by run id: what it executes, then what waits there
        self.work_s = 0.0  # expected of all of them
        self.began = 0.0  # the first of them
        self.freed = 0.0  # when it was last without any
        self.last: ModelFile | None = None  # heaviest file of what it was last given

    def wait_s(self, now: float) -> float:
        """Expected seconds until it could begin another run."""
        if not self.tasks:
            return 0.0
        first_s = next(iter(self.tasks.values())).work_s
        return self.work_s - min(first_s, now - self.began)


class Book(ABC):
    """Base of the baselines: keeps the desks and the queue; `place` is what each of them is."""

    name: str
    free_loads = False

    def __init__(self, taught: Mapping[str, float]) -> None:
        self.desks: dict[str, Desk] = {}
        self.queue: deque[QueueEntry] = deque()  # runs that no worker has, the oldest first
        self._files = ModelFiles()
        self._learned = Learned()
        for profile, seconds in taught.items():
            self._learned.ran(profile, "", "", 0.0, 0.0, seconds)

    @abstractmethod
    def place(self, now: float) -> Iterable[tuple[QueueEntry, Desk]]:
        """Takes runs off the queue for workers. What it yields is booked before it goes on."""

    def wake_at(self, now: float) -> float | None:
        """When to be asked again although nothing happened."""
        return None

    # The feed

    def worker(self, worker: Worker, offer: Offer, contents: Contents, now: float) -> None:
        desk = self.desks.get(worker.info.id)
        if desk is None:
            self._files.learn_sizes(contents.sizes)
            desk = self.desks[worker.info.id] = Desk(worker)
        if desk.up and worker.state is WorkerState.READY:
            return  # its disk has changed, and none of them looks at that
        desk.up = worker.state is WorkerState.READY
        self._report(desk, worker.residency)
        desk.last = None

    def queued(self, entry: QueueEntry, now: float) -> None:
        if entry.attempt > 1:
            self.queue.appendleft(entry)
        else:
            self.queue.append(entry)

    def started(self, run_id: str, worker_id: str, now: float) -> None:
        desk = self.desks[worker_id]
        if next(iter(desk.tasks)) == run_id:
            desk.began = now

    def ended(self, entry: QueueEntry, worker_id: str, end: RunEnd, now: float) -> None:
        desk = self.desks[worker_id]
        task = desk.tasks.pop(entry.run_id)
        desk.work_s = desk.work_s - task.work_s if desk.tasks else 0.0
        desk.freed = desk.began = now
        if end.residency is not None:
            self._report(desk, end.residency)
        if end.execute_s is not None:
            load_s = end.load_s or 0.0
            self._learned.ran(entry.profile, desk.gpu, worker_id, task.load_s, load_s, end.execute_s)

    def decide(self, now: float) -> Orders:
        placements: list[tuple[str, str]] = []
        for entry, desk in self.place(now):
            self._book(entry, desk, now)
            placements.append((entry.run_id, desk.id))
        return Orders(placements, wake_at=self.wake_at(now))

    # What baselines ask

    def able(self, entry: QueueEntry, *, idle: bool = False) -> list[Desk]:
        """Workers that may have the run: those that are up, without those it was lost on if there are others."""
        up = [desk for desk in self.desks.values() if desk.up and not (idle and desk.tasks)]
        return [desk for desk in up if desk.id not in entry.avoid] or up if entry.avoid else up

    def files(self, entry: QueueEntry) -> list[ModelFile]:
        return [self._files.file(ref) for ref in entry.needs.models]

    def main(self, entry: QueueEntry) -> ModelFile:
        """The heaviest file: what others mean when they say model."""
        return max(self.files(entry), key=lambda file: file.bytes)

    def load_s(self, files: Sequence[ModelFile], desk: Desk) -> float:
        """Expected seconds of loading, after all that the worker has to do before."""
        return desk.memory.load_s(files) * self._learned.load_pace(desk.id)

    def execute_s(self, entry: QueueEntry, desk: Desk) -> float:
        return self._learned.execute_s(entry.profile, desk.gpu)

    # Within

    def _book(self, entry: QueueEntry, desk: Desk, now: float) -> None:
        if not desk.tasks:
            desk.began = now
        files = self.files(entry)
        task = desk.tasks[entry.run_id] = Task(files, self.load_s(files, desk), self.execute_s(entry, desk))
        desk.work_s += task.work_s
        desk.memory.use(files)
        desk.last = self.main(entry)

    def _report(self, desk: Desk, residency: Residency) -> None:
        file = self._files.file
        desk.memory.report(map(file, residency.vram), map(file, residency.ram))
        newest = list(islice(reversed(desk.tasks.values()), REMEMBERED))
        for task in reversed(newest):
            desk.memory.use(task.files)
