"""Warm pools: which idle worker is to run which workflow once, so that its models are there before anybody asks. Pure.

A pool wants each of some workflows warm on `min_warm` of its workers: all of its model files in their VRAM. `plan` says
what is missing, one replica of each workflow before the second of any. A worker that holds a replica that is needed
keeps it: it is asked for another workflow only if both fit, by their bytes and by what was seen of ComfyUI, which with
most of its caches lets go of what the prompt at hand does not name.

`Warmth` remembers what became of earlier warm-ups, so that none is repeated without need or without end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from math import inf

from orchestrator.domain.needs import ModelRef

LOST_S = 1.0  # before what was warm, and is not any more, is warmed again on the same worker
FAILED_S = 60.0  # before one that failed is tried again there: it may have taken its ComfyUI with it
GROWTH = 4  # of these pauses, from one time to the next
MOST_S = 3600.0
STEADY_S = 60.0  # warm for so long, and what went before is forgotten

Pair = frozenset[str]
"""Two workflows that a worker was seen not to keep both."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A workflow that is to be warm, and its model files with their bytes."""

    workflow: str
    files: Mapping[ModelRef, int]


@dataclass(frozen=True, slots=True)
class Stand:
    """How a worker stands. `room`: bytes of VRAM for models; `able`: the workflows that it could run; `warm`: those
    that are warm there, or about to be; `may`: those that it may be asked to warm now."""

    worker: str
    room: float
    able: frozenset[str]
    warm: frozenset[str]
    holds: frozenset[ModelRef]
    may: frozenset[str]


@dataclass(frozen=True, slots=True)
class Order:
    worker: str
    workflow: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`short`: workflows that are warm on too few workers although nothing is under way for them, and why."""

    orders: tuple[Order, ...]
    short: Mapping[str, str]


def plan(wishes: Sequence[Wish], min_warm: int, stands: Sequence[Stand], apart: Set[Pair]) -> Plan:
    """What to warm now. `apart` are workflows that no worker is to be asked for both of."""
    planner = _Planner(wishes, min_warm, stands, apart)
    for level in range(1, min(min_warm, len(stands) + 1) + 1):  # one more than there are: that is what is short
        for wish in wishes:
            planner.fill(wish, level)
    return Plan(tuple(planner.orders), planner.short)


class _Planner:
    """One plan in the making."""

    def __init__(self, wishes: Sequence[Wish], min_warm: int, stands: Sequence[Stand], apart: Set[Pair]) -> None:
        self._min_warm = min_warm
        self._files = {wish.workflow: wish.files for wish in wishes}
        self._stands = stands
        self._apart = apart
        self._warm = {stand.worker: set(stand.warm & self._files.keys()) for stand in stands}
        self._count = Counter(name for names in self._warm.values() for name in names)
        self._asked: set[str] = set()
        self.orders: list[Order] = []
        self.short: dict[str, str] = {}

    def fill(self, wish: Wish, level: int) -> None:
        """Has the workflow be warm on so many workers, if that can be."""
        name = wish.workflow
        if self._count[name] >= level or name in self.short:
            return
        others = [stand for stand in self._stands if name in stand.able and name not in self._warm[stand.worker]]
        fitting = [stand for stand in others if self._fits(stand, wish, level)]
        ready = [stand for stand in fitting if name in stand.may and stand.worker not in self._asked]
        if ready:
            best = min(ready, key=lambda stand: self._burden(stand, wish, level))
            self._asked.add(best.worker)
            self._warm[best.worker].add(name)
            self._count[name] += 1
            self.orders.append(Order(best.worker, name))
        elif not fitting:
            why = "no other has room for its models beside what it is to keep" if others else "no other can run it"
            self.short[name] = f"warm on {self._count[name]} of {self._min_warm} workers: {why}"

    def _kept(self, stand: Stand, name: str, level: int) -> list[str]:
        """The workflows that must stay warm there: without it, too few others would hold them."""
        return [other for other in self._warm[stand.worker] if other != name and self._count[other] - 1 < level]

    def _fits(self, stand: Stand, wish: Wish, level: int) -> bool:
        kept = self._kept(stand, wish.workflow, level)
        if any(frozenset((wish.workflow, other)) in self._apart for other in kept):
            return False
        return self._bytes(wish.workflow, *kept) <= stand.room

    def _burden(self, stand: Stand, wish: Wish, level: int) -> tuple[float, float, int, str]:
        """The least to load first, then the emptiest."""
        missing = sum(size for file, size in wish.files.items() if file not in stand.holds)
        kept = self._kept(stand, wish.workflow, level)
        return missing, self._bytes(*kept), len(self._warm[stand.worker]), stand.worker

    def _bytes(self, *names: str) -> int:
        together: dict[ModelRef, int] = {}
        for name in names:
            together.update(self._files[name])
        return sum(together.values())


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker as it is seen. `idle`: it is ready, and neither it nor the queue has anything that it could do."""

    worker: str
    epoch: int
    room: float
    able: frozenset[str]
    vram: frozenset[ModelRef]
    idle: bool


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The last warm-up of a workflow on a worker. `missed`: files that were not in VRAM when it had succeeded, as its
    ComfyUI keeps them elsewhere: they are not asked for again while it is the same."""

    at: float
    epoch: int
    count: int = 1  # in a row, without having been warm for long
    failed: bool = False
    missed: frozenset[ModelRef] = frozenset()

    @property
    def pause_until(self) -> float:
        pause_s = FAILED_S if self.failed else LOST_S
        return self.at + min(MOST_S, pause_s * GROWTH ** (self.count - 1))


@dataclass(frozen=True, slots=True)
class _Pending:
    workflow: str
    epoch: int
    until: float
    warm_before: frozenset[str]


@dataclass(slots=True)
class Warmth:
    """One pool's. Times are seconds of any clock that only rises."""

    min_warm: int
    wishes: tuple[Wish, ...] = ()
    _seen: dict[str, Seen] = field(default_factory=dict[str, Seen])
    _attempts: dict[tuple[str, str], _Attempt] = field(default_factory=dict[tuple[str, str], _Attempt])
    _pending: dict[str, _Pending] = field(default_factory=dict[str, _Pending])
    _apart: set[Pair] = field(default_factory=set[Pair])

    def plan(self, seen: Iterable[Seen], now: float) -> Plan:
        """What to warm now, on workers that are ready."""
        self._seen = {each.worker: each for each in seen}
        for worker, pending in list(self._pending.items()):
            at = self._seen.get(worker)
            if at is None or at.epoch != pending.epoch or now >= pending.until:
                self.ended(worker, pending.workflow, False, now)
        return plan(self.wishes, self.min_warm, [self._stand(each, now) for each in self._seen.values()], self._apart)

    def ordered(self, order: Order, now: float, within_s: float) -> None:
        """The worker was told; it answers within that time, if at all."""
        seen = self._seen[order.worker]
        self._pending[order.worker] = _Pending(order.workflow, seen.epoch, now + within_s, self._warm(seen))

    def expects(self, worker: str) -> bool:
        """Whether a warm-up of ours is under way there."""
        return worker in self._pending

    def given_up(self, worker: str) -> None:
        """There was something to do for it."""
        self._pending.pop(worker, None)

    def ended(self, worker: str, workflow: str, done: bool, now: float, vram: Set[ModelRef] = frozenset()) -> None:
        """A warm-up was done, and left these files in VRAM; or it failed."""
        pending = self._pending.pop(worker, None)
        if pending is None or pending.workflow != workflow:
            return
        before = self._attempts.get((worker, workflow))
        count = 1 if before is None else before.count + 1
        attempt = _Attempt(now, pending.epoch, count, failed=not done)
        if done:
            files = next(
                (wish.files.keys() for wish in self.wishes if wish.workflow == workflow), frozenset[ModelRef]()
            )
            attempt = replace(attempt, missed=frozenset(files - vram))
        self._attempts[worker, workflow] = attempt
        seen = self._seen.get(worker)
        if done and seen is not None:
            self._seen[worker] = replace(seen, vram=frozenset(vram))
            lost = pending.warm_before - self._warm(self._seen[worker]) - {workflow}
            self._apart.update(frozenset((workflow, other)) for other in lost)

    def missed(self, worker: str, workflow: str) -> frozenset[ModelRef]:
        """Files that its ComfyUI does not keep in VRAM, even right after a warm-up."""
        attempt = self._attempts.get((worker, workflow))
        seen = self._seen.get(worker)
        return attempt.missed if attempt and seen and attempt.epoch == seen.epoch else frozenset()

    def warm_on(self, workflow: str) -> list[str]:
        """The workers that hold it."""
        return sorted(worker for worker, seen in self._seen.items() if workflow in self._warm(seen))

    def _warm(self, seen: Seen) -> frozenset[str]:
        return frozenset(
            wish.workflow
            for wish in self.wishes
            if wish.workflow in seen.able and wish.files.keys() <= seen.vram | self.missed(seen.worker, wish.workflow)
        )

    def _stand(self, seen: Seen, now: float) -> Stand:
        warm = self._warm(seen)
        for name in warm:
            attempt = self._attempts.get((seen.worker, name))
            if attempt is not None and now - attempt.at >= STEADY_S and attempt.count:
                self._attempts[seen.worker, name] = replace(attempt, count=0)
        pending = self._pending.get(seen.worker)
        if pending is not None:
            warm |= {pending.workflow}
        free = seen.idle and pending is None
        may = frozenset(wish.workflow for wish in self.wishes if free and self._due(seen.worker, wish.workflow) <= now)
        return Stand(seen.worker, seen.room, seen.able, warm, seen.vram, may)

    def _due(self, worker: str, workflow: str) -> float:
        attempt = self._attempts.get((worker, workflow))
        return -inf if attempt is None or attempt.count == 0 else attempt.pause_until
