"""The workers of one pool as the scheduler sees them: what each has to do, what it holds, whether it is open for more.

Late binding: a run waits in our queue, where any worker can still take it, until a worker is about to need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from types import MappingProxyType

from orchestrator.domain.worker import Worker, WorkerInfo, WorkerState
from orchestrator.scheduling.memory import Memory
from orchestrator.scheduling.models import Contents, ModelFile, Offer
from orchestrator.scheduling.queue import Group, Trait

# Only behind runs that should be done in so little time is a worker given another one. When a longer one ends is known
# too badly: whatever was bound to a worker that takes longer than expected would have been better off with the next
# that comes free, by seconds, and what an idle worker waits for its next run are milliseconds.
SHORT_S = 2.0
COVER_S = 0.1  # short runs are given in such number that they cover this much work: the driver's reaction time
MAX_HELD = 64
OVERRUN = 0.2  # a run that takes longer than expected is guessed to need this share of what it took already


class Held:
    """A run that left the queue for a worker, with the seconds that are expected of it there."""

    __slots__ = ("began_at", "excess", "execute_s", "executed_at", "load_s", "number", "standing_s", "tenant", "trait")

    def __init__(self, number: int, standing_s: float, trait: Trait, tenant: str) -> None:
        self.number = number
        self.standing_s = standing_s
        self.trait = trait
        self.tenant = tenant
        self.excess = False  # whether it was beyond its tenant's share
        self.load_s = 0.0
        self.execute_s = 0.0
        self.began_at: float | None = None
        self.executed_at: float | None = None

    def took_s(self, now: float) -> float:
        """Seconds on the GPU by now."""
        if self.began_at is None:
            return 0.0
        return (now if self.executed_at is None else self.executed_at) - self.began_at

    @property
    def work_s(self) -> float:
        return self.load_s + self.execute_s


class WorkerView:
    """One worker. Times are those that the index is given, in seconds."""

    __slots__ = (
        "awaited",
        "closes_at",
        "delivering",
        "doubted",
        "down_since",
        "epoch",
        "files",
        "first_s",
        "gpu",
        "held",
        "id",
        "info",
        "memory",
        "note",
        "offer",
        "since",
        "state",
        "work_s",
    )  # fmt: skip

    def __init__(self, info: WorkerInfo) -> None:
        self.id = info.id
        self.info = info
        self.gpu = _gpu(info)
        self.epoch = 0
        self.state = WorkerState.STARTING
        self.note: str | None = None  # why it is in this state
        self.offer: Offer | None = None  # None: not inspected yet
        self.memory = Memory(info.vram_bytes, info.ram_bytes)
        self.held: dict[int, Held] = {}  # by run number: what it executes, then what waits there
        self.delivering: dict[int, Held] = {}  # executed; the outputs are under way
        self.since = 0.0  # when the first of `held` began, or could have
        self.work_s = 0.0  # expected of all of `held`
        self.first_s = 0.0  # and of the first of them
        self.doubted = False  # the store refused it a run: nothing more until it was read again
        self.files: frozenset[ModelFile] = frozenset()  # as its pool has noted them
        self.closes_at = inf  # when it is looked at again, as a short run that it executes was none
        self.down_since: float | None = None
        self.awaited: dict[Group, None] = {}  # groups that wait for this worker though another is free

    @property
    def first(self) -> Held:
        """What it executes, or is about to; there is something."""
        return next(iter(self.held.values()))

    def wait_s(self, now: float) -> float:
        """Expected seconds until it could begin another run."""
        if not self.held:
            return 0.0
        first = self.first_s
        elapsed = max(0.0, now - self.since)
        return self.work_s - first + max(first - elapsed, OVERRUN * elapsed)

    def open_until(self) -> float:
        """It may be given another run before this; whatever else it waits for ends that sooner, or begins it anew."""
        if self.state is not WorkerState.READY or self.doubted or self.offer is None:
            return -inf
        if len(self.delivering) >= MAX_HELD:  # its storage does not keep up, or is away
            return -inf
        if not self.held:
            return inf
        first = self.first_s
        if first > SHORT_S or (len(self.held) > 1 and self.work_s - first >= COVER_S) or len(self.held) >= MAX_HELD:
            return -inf
        return self.since + SHORT_S

    def inform(self, worker: Worker, offer: Offer | None, now: float) -> None:
        """What the store says of it replaces what was thought, but for its runs and residency."""
        if worker.state is not WorkerState.DOWN:
            self.down_since = None
        elif self.down_since is None:
            self.down_since = now
        self.info, self.state, self.note, self.offer = worker.info, worker.state, worker.note, offer
        self.gpu = _gpu(worker.info)
        self.epoch = worker.epoch
        self.memory.resize(worker.info.vram_bytes, worker.info.ram_bytes)
        self.doubted = False

    def give(self, number: int, held: Held, now: float) -> None:
        if not self.held:
            self.since, self.first_s = now, held.work_s
        self.held[number] = held
        self.work_s += held.work_s
        self.memory.use(held.trait.group.files)

    def begin(self, number: int, now: float) -> None:
        """The run executes: what it was given before has executed."""
        held = self.held.get(number)
        if held is None or held.began_at is not None:
            return
        for other in [other for other, was in self.held.items() if was.began_at is not None]:
            self.executed(other, now)
        held.began_at = now
        self.held = {number: held, **self.held}
        self._recount(now)

    def executed(self, number: int, now: float) -> None:
        """The run only delivers its outputs any more."""
        held = self.held.pop(number, None)
        if held is not None:
            held.began_at = self.since if held.began_at is None else held.began_at  # a short one's start was not told
            held.executed_at = now
            self.delivering[number] = held
            self._recount(now)

    def release(self, number: int, now: float) -> Held | None:
        """The run has left the worker, or never came."""
        if number in self.delivering:
            return self.delivering.pop(number)
        was_first = next(iter(self.held), None) == number
        held = self.held.pop(number, None)
        if held is not None:
            self._recount(now if was_first else self.since)
        return held

    def _recount(self, since: float) -> None:
        works = [held.work_s for held in self.held.values()]
        self.since = since
        self.work_s = sum(works)
        self.first_s = works[0] if works else 0.0


def _gpu(info: WorkerInfo) -> str:
    """The kind by which times are learned."""
    return info.gpu or info.device or ""


class Holders:
    """Which of some workers hold a file, in VRAM or RAM: each what it has under that name."""

    __slots__ = ("_by_file", "_copies")

    def __init__(self) -> None:
        self._by_file: dict[ModelFile, dict[WorkerView, str | None]] = {}  # with the SHA-256 of what it holds
        self._copies: dict[tuple[ModelFile, str | None], int] = {}  # how many of them there are

    def of(self, file: ModelFile) -> Mapping[WorkerView, str | None]:
        """Those on which a run that asks for the name finds it in memory."""
        return self._by_file.get(file, _NOBODY)

    def alike(self, file: ModelFile, view: WorkerView) -> int:
        """How many of them hold the same bytes as this worker does, or may: whose digest nobody knows."""
        sha256 = view.memory.contents.sha256(file)
        if sha256 is None:
            return len(self.of(file))
        return self._copies.get((file, sha256), 0) + self._copies.get((file, None), 0)

    def add(self, view: WorkerView, files: Iterable[ModelFile]) -> None:
        for file in files:
            copy = file, view.memory.contents.sha256(file)
            self._by_file.setdefault(file, {})[view] = copy[1]
            self._copies[copy] = self._copies.get(copy, 0) + 1

    def remove(self, view: WorkerView, files: Iterable[ModelFile]) -> None:
        """As it was added, whatever is known of its files by now."""
        for file in files:
            workers = self._by_file[file]
            copy = file, workers.pop(view)
            self._copies[copy] -= 1
            if not self._copies[copy]:
                del self._copies[copy]
            if not workers:
                del self._by_file[file]


_NOBODY: Mapping[WorkerView, str | None] = MappingProxyType({})


class OpenHolders:
    """Which of the open workers hold a file. They come and go with every run: kept as cheap as can be."""

    __slots__ = ("_by_file",)

    def __init__(self) -> None:
        self._by_file: dict[ModelFile, dict[WorkerView, None]] = {}

    def of(self, file: ModelFile) -> Iterable[WorkerView]:
        return self._by_file.get(file, ())

    def add(self, view: WorkerView, files: Iterable[ModelFile]) -> None:
        for file in files:
            if file in self._by_file:
                self._by_file[file][view] = None
            else:
                self._by_file[file] = {view: None}

    def remove(self, view: WorkerView, files: Iterable[ModelFile]) -> None:
        for file in files:
            workers = self._by_file[file]
            del workers[view]
            if not workers:
                del self._by_file[file]


class Fleet:
    """The workers of one pool, and which of them are open for a run: the one that has been so for longest first."""

    def __init__(self) -> None:
        self.workers: dict[str, WorkerView] = {}
        self.open: dict[WorkerView, None] = {}
        self.holders = Holders()
        self.open_holders = OpenHolders()
        self.floor: Mapping[ModelFile, int] = {}  # on how many workers a file is to be, whether or not runs need it

    def update(self, view: WorkerView, is_open: bool) -> None:
        """Takes over what the worker holds now, and whether it is open."""
        was_open = view in self.open
        if was_open and not is_open:
            del self.open[view]
            self.open_holders.remove(view, view.files)
        if view.memory.moved:
            view.memory.moved = False
            files = view.memory.files()
            gone, came = view.files - files, files - view.files
            view.files = files
            self.holders.remove(view, gone)
            self.holders.add(view, came)
            if was_open and is_open:
                self.open_holders.remove(view, gone)
                self.open_holders.add(view, came)
        if is_open and not was_open:
            self.open[view] = None
            self.open_holders.add(view, view.files)

    def tell(self, view: WorkerView, contents: Contents) -> None:
        """What the worker has under the names of its files: those that it holds are noted as that."""
        self.holders.remove(view, view.files)
        view.memory.contents = contents
        self.holders.add(view, view.files)

    def remove(self, view: WorkerView) -> None:
        self.update(view, is_open=False)
        self.holders.remove(view, view.files)
        del self.workers[view.id]
