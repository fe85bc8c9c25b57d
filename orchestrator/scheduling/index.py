"""Index: what the dispatcher knows, in memory: the queue, the workers, and what changed since the last decision.

It has one owner, is built from a snapshot and kept up by the feed, with one method for each kind of change. Each may
be called twice, or late: what is known already is not done again. `now` is in seconds of any clock that never goes
back; such times are compared with each other alone, so that a jump of the machine's clock does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from math import inf

from orchestrator.domain.needs import ModelRef
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Residency, Worker, WorkerState
from orchestrator.scheduling import ticket as tickets
from orchestrator.scheduling.feasible import able
from orchestrator.scheduling.fleet import Held, WorkerView
from orchestrator.scheduling.learned import Learned
from orchestrator.scheduling.models import UNTOLD, Contents, ModelFiles, Offer
from orchestrator.scheduling.pool import Pool
from orchestrator.scheduling.queue import Group, Trait
from orchestrator.scheduling.timers import Timers
from orchestrator.scheduling.waiting import Waiting

DOUBT_S = 0.5  # a run that the store would not assign is not offered again for this long: the feed tells why first
GRACE_S = 30.0  # what nobody could do is not refused before this long: a worker may be on its way, a file being copied
DOWN_LONG_S = 600.0  # a worker that is down for less is expected back: a reboot, an update
ANSWERING = (
    WorkerState.READY,
    WorkerState.DRAINING,
)  # in other states the ComfyUI, and what it holds, is going or gone


class Index:
    """See the module."""

    def __init__(self, learned: Learned | None = None, weights: Mapping[str, float] | None = None) -> None:
        """`weights`: of tenants, where they are not 1."""
        self.pools: dict[str, Pool] = {}
        self._weights = weights or {}
        self.stirred: dict[Pool, None] = {}  # pools in which something is fresh, or may be
        self.learned = learned or Learned()
        self.timers = Timers()
        self._files = ModelFiles()
        self._workers: dict[str, WorkerView] = {}
        self.waiting = Waiting(self.pools)
        self._placed: dict[int, WorkerView] = {}
        self._parked: dict[int, tuple[Held, WorkerView]] = {}  # the store would not assign them

    def __len__(self) -> int:
        """Queued runs."""
        return len(self.waiting)

    def gpu(self, worker_id: str) -> str:
        """The kind of GPU that the worker has, as times are learned by it."""
        view = self._workers.get(worker_id)
        return view.gpu if view else ""

    def view(self, worker_id: str) -> WorkerView:
        """A worker that is known."""
        return self._workers[worker_id]

    def known(self, worker_id: str) -> WorkerView | None:
        """A worker, if it is known."""
        return self._workers.get(worker_id)

    # What the feed and the snapshot tell

    def queued(self, entry: QueueEntry, now: float) -> None:
        """A run waits."""
        number = tickets.number_of(entry.run_id)
        if number not in self.waiting and number not in self._placed and number not in self._parked:
            self._enqueue(self._taken(number, entry), now)

    def gone(self, run_id: str, now: float) -> None:
        """A run left the queue without being assigned."""
        self._drop(tickets.number_of(run_id), now)

    def running(self, entry: QueueEntry, worker_id: str, now: float) -> None:
        """A worker has this run, says a snapshot."""
        number = tickets.number_of(entry.run_id)
        view = self._workers.get(worker_id)
        if view is not None and number not in self._placed:
            self._place(view, self._taken(number, entry), now)

    def assigned(self, run_id: str, worker_id: str, now: float) -> None:
        """A run was given to a worker: by us, which is known here already, or by the leader before us."""
        number = tickets.number_of(run_id)
        view = self._workers.get(worker_id)
        if view is None or self._placed.get(number) is view:
            return
        held = self._drop(number, now)
        if held is not None:
            self._place(view, held, now)

    def started(self, run_id: str, worker_id: str, now: float) -> None:
        """A run executes."""
        number = tickets.number_of(run_id)
        view = self._placed.get(number)
        if view is not None and view.id == worker_id:
            view.begin(number, now)
            self._changed(view, now)

    def executed(self, run_id: str, worker_id: str, now: float) -> None:
        """A run has executed, and its outputs are under way."""
        number = tickets.number_of(run_id)
        view = self._placed.get(number)
        if view is not None and view.id == worker_id:
            view.executed(number, now)
            self._changed(view, now)

    def ended(self, run_id: str, residency: Residency | None, now: float) -> Held | None:
        """A run is done with its worker, which holds `residency` now. Answers what was expected of it."""
        number = tickets.number_of(run_id)
        view = self._placed.get(number)
        held = self._drop(number, now)
        if view is not None and residency is not None:
            self._report(view, residency)
            self._changed(view, now)
        return held

    def worker(self, worker: Worker, offer: Offer | None, now: float, contents: Contents = UNTOLD) -> None:
        """A worker as it stands in the store. `offer` is what its catalog says: None while that is not known.
        `contents`: what its model files are."""
        view = self._workers.get(worker.info.id)
        if view is not None and view.info.pool != worker.info.pool:
            self.forgotten(view.id, now)
            view = None
        if view is None:
            view = self._workers[worker.info.id] = WorkerView(worker.info)
            self._join(view)
        if contents is not view.memory.contents:
            self._files.learn_sizes(contents.sizes)
            self._pool(worker.info.pool).fleet.tell(view, contents)
        view.inform(worker, offer, now)
        self._report(view, worker.residency if worker.state in ANSWERING else Residency())
        self._standing_changed(view, now)

    def holds(self, worker_id: str, residency: Residency, now: float) -> None:
        """What a worker holds now, as it says."""
        view = self._workers.get(worker_id)
        if view is not None and view.state in ANSWERING:
            self._report(view, residency)
            self._changed(view, now)

    def forgotten(self, worker_id: str, now: float) -> None:
        """The store knows this worker no more."""
        view = self._workers.pop(worker_id, None)
        if view is None:
            return
        for number in [*view.held, *view.delivering]:
            del self._placed[number]
        view.state = WorkerState.DOWN
        self._standing_changed(view, now)
        pool = self._pool(view.info.pool)
        pool.fleet.remove(view)
        pool.fairness.allow(len(pool.fleet.workers))
        self._retire(pool)

    def not_assigned(self, run_id: str, now: float) -> None:
        """The store did not assign a run as planned: the run or the worker is not what it was taken for.

        The feed is about to tell which. Until it does, or DOUBT_S have passed, both are left alone.
        """
        number = tickets.number_of(run_id)
        view = self._placed.get(number)
        held = self._drop(number, now)
        if view is not None and held is not None:
            view.doubted = True
            self._changed(view, now)
            self._parked[number] = held, view
            self.timers.at(now + DOUBT_S, self._unpark, number)

    # What is kept warm

    def sizes(self, models: Iterable[ModelRef]) -> dict[ModelRef, int]:
        """Bytes of these files, as far as is known."""
        return {model: self._files.file(model).bytes for model in models}

    def keep(self, pool: str, floor: Mapping[ModelRef, int]) -> None:
        """Has these files be dear to the pool, on so many workers each."""
        if pool in self.pools:
            self.pools[pool].fleet.floor = {self._files.file(model): count for model, count in floor.items()}

    # What a decision does

    def next_profile(self, group: Group) -> str:
        """The profile of the run that is next in the group."""
        return self.waiting.trait(group.next).profile

    def take(self, group: Group) -> Held:
        """The group's next run leaves the queue: for `give`, or because it is refused."""
        held = self._leave(tickets.number(group.next))
        assert held is not None
        return held

    def give(self, held: Held, view: WorkerView, now: float) -> None:
        """A worker gets a run that was taken, with the seconds expected of it filled in."""
        view.give(held.number, held, now)
        self._placed[held.number] = view
        its = self._pool(held.trait.group.pool)  # in which it was queued: there its seconds are counted
        its.fairness.serve(its.fairness.tenant(held.tenant), held.work_s, spare=held.excess)
        self.waiting.promote(its)
        self._pool(view.info.pool).recall(view)
        self._changed(view, now)

    def wait_for(self, view: WorkerView, group: Group, until: float) -> None:
        """The group's next run waits for this busy worker: until it takes something or goes, or until then."""
        if group.patience is None or group.patience[0] != group.head:
            group.patience = (group.next, until, view.id)
            self.timers.at(until, self._look_again, group)
        view.awaited[group] = None

    def review_later(self, pool: Pool, at: float) -> None:
        """Has the pool's queue searched then for runs that nobody can do."""
        if pool.review_at is None or at < pool.review_at:
            pool.review_at = at
            self.timers.at(at, self._review, pool)

    # Within

    def _pool(self, name: str) -> Pool:
        found = self.pools.get(name)
        if found is None:
            found = self.pools[name] = Pool(name, self._weights)
        return found

    def _retire(self, pool: Pool) -> None:
        """Callers may name any pool: one without runs and workers is forgotten."""
        if not pool.queue.line and not pool.fleet.workers:
            self.pools.pop(pool.name, None)
            self.stirred.pop(pool, None)

    def _join(self, view: WorkerView) -> None:
        pool = self._pool(view.info.pool)
        pool.fleet.workers[view.id] = view
        pool.fairness.allow(len(pool.fleet.workers))

    def _taken(self, number: int, entry: QueueEntry) -> Held:
        """A run that is in no queue, or not yet."""
        pool = self._pool(entry.pool)
        expected_s = self.learned.execute_s(entry.profile, "")
        return Held(number, tickets.standing(entry, expected_s), self._trait(pool, entry), entry.tenant)

    def _trait(self, pool: Pool, entry: QueueEntry) -> Trait:
        group = pool.queue.group(entry.needs, entry.avoid)
        if group is None:
            files = sorted((self._files.file(ref) for ref in entry.needs.models), key=lambda file: -file.bytes)
            group = Group(pool.name, entry.needs, entry.avoid, tuple(files))
        return group.trait(entry.priority, entry.attempt, entry.profile)

    def _enqueue(self, held: Held, now: float) -> None:
        group = held.trait.group
        pool = self._pool(group.pool)
        if group.head is None and not any(able(view, group) for view in pool.fleet.workers.values()):
            self.review_later(pool, now + GRACE_S)
        expected_s = self.learned.execute_s(held.trait.profile, "")
        tenant = pool.fairness.tenant(held.tenant)
        self.waiting.add(held.number, held.trait, tenant, held.standing_s, expected_s)
        pool.refresh(group)
        self.stirred[pool] = None

    def _leave(self, number: int) -> Held | None:
        """Off the queue, if it is there."""
        place = self.waiting.leave(number)
        if place is None:
            return None
        pool = self._pool(place.trait.group.pool)
        self.waiting.promote(pool)
        self._retire(pool)
        held = Held(number, tickets.standing_s(place.ticket), place.trait, place.tenant.name)
        held.excess = place.ticket >= tickets.EXCESS
        return held

    def _drop(self, number: int, now: float) -> Held | None:
        """A run is no more where it was."""
        queued = self._leave(number)
        if queued is not None:
            return queued
        if number in self._parked:
            return self._trust(number, now)
        view = self._placed.pop(number, None)
        if view is None:
            return None
        held = view.release(number, now)
        if held is not None:
            its = self._pool(held.trait.group.pool)
            its.fairness.correct(its.fairness.tenant(held.tenant), held.took_s(now) - held.work_s)
            self.waiting.promote(its)
            self._retire(its)
        self._changed(view, now)
        return held

    def _place(self, view: WorkerView, held: Held, now: float) -> None:
        held.load_s = view.memory.load_s(held.trait.group.files) * self.learned.load_pace(view.id)
        held.execute_s = self.learned.execute_s(held.trait.profile, view.gpu)
        self.give(held, view, now)

    def _report(self, view: WorkerView, residency: Residency) -> None:
        self._files.learn_sizes(residency.sizes)
        file = self._files.file
        view.memory.report(map(file, residency.vram), map(file, residency.ram))
        for held in chain(view.delivering.values(), view.held.values()):
            view.memory.use(held.trait.group.files)

    def _changed(self, view: WorkerView, now: float) -> None:
        """After a worker's runs, files or state changed: is it open, and for how long?"""
        pool = self._pool(view.info.pool)
        self.stirred[pool] = None
        until = view.open_until()
        pool.fleet.update(view, is_open=now < until)
        if now < until:
            pool.fresh_workers[view] = None
            if until not in (inf, view.closes_at):
                view.closes_at = until
                self.timers.at(until, self._changed, view)

    def _standing_changed(self, view: WorkerView, now: float) -> None:
        """After a worker's state or offer changed: others may have to do without it, or with it."""
        pool = self._pool(view.info.pool)
        pool.recall(view)
        for group in pool.queue.avoiding:
            pool.refresh(group)
        self.review_later(pool, now + GRACE_S)
        self._changed(view, now)

    def _look_again(self, group: Group, _now: float) -> None:
        pool = self._pool(group.pool)
        pool.refresh(group)
        self.stirred[pool] = None

    def _review(self, pool: Pool, _now: float) -> None:
        pool.review_at = None
        pool.review_due = True
        self.stirred[pool] = None

    def _trust(self, number: int, now: float) -> Held:
        """What was wrong with a parked run, or its worker, is known or forgiven."""
        held, view = self._parked.pop(number)
        view.doubted = False
        self._changed(view, now)
        return held

    def _unpark(self, number: int, now: float) -> None:
        if number not in self._parked:
            return
        held = self._trust(number, now)
        was = held.trait
        group = self._pool(was.group.pool).queue.group(was.group.needs, was.group.avoid) or was.group
        held.trait = group.trait(was.priority, was.attempt, was.profile)
        self._enqueue(held, now)
