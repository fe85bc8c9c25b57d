"""Which model files agents should fetch from their remote sources, ahead of the runs that need them.

A run is given only to a worker whose disk has its files. Where no ready worker's has, or where those that have would
come to it later than one that fetches first, that one is told to. It goes on with other runs meanwhile, and what it has
fetched makes it a worker like the others. What no queued run needs any more is given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from math import inf

from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import WorkerState
from orchestrator.scheduling.feasible import able, to_fetch
from orchestrator.scheduling.fleet import WorkerView
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.models import NET_BYTES_S
from orchestrator.scheduling.queue import Group

FETCH_S = 2.0  # how often is looked at what agents should fetch, which takes them much longer
TELLING_S = 10.0  # what came sooner than this tells little of how long such files take
HEADS = 64  # oldest groups of a pool that are looked at: far enough ahead for files that take minutes

Orders = Mapping[str, tuple[ModelRef, ...]]
"""By worker, the files that are to be on its disk, in this order; none: what it was told before is given up."""


class Fetches:
    """What is on its way, look after look."""

    def __init__(self, index: Index) -> None:
        self.orders: Orders = {}
        self._index = index
        self._since: dict[tuple[str, ModelRef], float] = {}  # what each worker fetches, or is about to

    def look(self, now: float) -> Iterator[None]:
        """Group by group: others may have their turn, and change the index, in between. Then `orders` are new ones."""
        self._learn(now)
        before = {worker: files for worker, files in self.orders.items() if files}
        look = _Look(self._index, before, now)
        for pool in list(self._index.pools.values()):
            ready = [view for view in pool.fleet.workers.values() if view.state is WorkerState.READY]
            if any(view.offer and view.offer.remote for view in ready):
                for group in list(islice(pool.queue.line, HEADS)):
                    if group.head is not None:
                        look.at(group, ready)
                        yield
        self.orders = {worker: tuple(look.orders.get(worker, ())) for worker in {**before, **look.orders}}
        begun = {(worker, files[0]): now for worker, files in self.orders.items() if files}
        self._since = {what: self._since.get(what, at) for what, at in begun.items()}

    def _learn(self, now: float) -> None:
        """What has come by now tells how long that takes."""
        for (worker, file), since in self._since.items():
            view = self._index.known(worker)
            if now - since >= TELLING_S and view and view.offer and file in view.offer.models:
                self._index.learned.fetched(worker, fetch_s(self._index, view, [file]), now - since)


def fetch_s(index: Index, view: WorkerView, files: Iterable[ModelRef]) -> float:
    """Seconds in which all of these would come to the worker's disk."""
    return sum(index.sizes(files).values()) / NET_BYTES_S * index.learned.fetch_pace(view.id)


class _Look:
    """One look at what should be on its way now. `before`: what was, and goes on for as long as a run waits for it."""

    def __init__(self, index: Index, before: Orders, now: float) -> None:
        self._index = index
        self._before = before
        self._now = now
        self.orders: dict[str, dict[ModelRef, None]] = {}

    def at(self, group: Group, ready: Iterable[WorkerView]) -> None:
        could = {view: files for view in ready if (files := to_fetch(view, group)) and view.id not in group.avoid}
        if not could:  # of most groups: all have the files
            return
        ends = [self._ends_s(view, group, view.wait_s(self._now)) for view in ready if able(view, group)]
        there = bool(ends)
        rest: dict[WorkerView, float] = {}
        for view, files in could.items():
            ends_s = self._ends_s(view, group, self._begins_s(view, files))
            if set(files) <= set(self._before.get(view.id, ())):
                ends.append(ends_s)
                self._order(view, files)
            else:
                rest[view] = ends_s
        soonest = min(rest, key=lambda view: (rest[view], view.id), default=None)
        if soonest is not None and rest[soonest] < self._done_s(group, ends, there):
            self._order(soonest, could[soonest])

    def _order(self, view: WorkerView, files: Iterable[ModelRef]) -> None:
        self.orders.setdefault(view.id, {}).update(dict.fromkeys(files))

    def _begins_s(self, view: WorkerView, files: Iterable[ModelRef]) -> float:
        """Seconds until the worker could begin with a run that needs these: it fetches while it executes."""
        queued = {*self.orders.get(view.id, ()), *files}
        return max(fetch_s(self._index, view, queued), view.wait_s(self._now))

    def _ends_s(self, view: WorkerView, group: Group, begins_s: float) -> float:
        """Seconds until the worker would be done with the group's next run, if it begins that after so long."""
        load_s = view.memory.load_s(group.files) * self._index.learned.load_pace(view.id)
        return begins_s + load_s + self._index.learned.execute_s(self._index.next_profile(group), view.gpu)

    def _done_s(self, group: Group, ends: list[float], there: bool) -> float:
        """Seconds until the group's runs would be done with workers that do the next one in so long. `there`: one of
        them has the files; then one more run is expected, as who asked for a model will ask for it again."""
        if not ends:
            return inf
        work_s = sum(trait.count * self._index.learned.execute_s(trait.profile, "") for trait in group.traits())
        return min(ends) + work_s * (group.size - 1 + there) / group.size / len(ends)
