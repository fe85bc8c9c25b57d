"""Whatever the feed tells, in whatever order and however often, decisions keep their promises.

A state machine drives an index through the life of a fleet and checks each plan against a model that fits on a page.
A twin index is told the same: it must decide the same.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from orchestrator.domain.needs import Needs
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Residency, Worker, WorkerState
from orchestrator.scheduling import ticket as tickets
from orchestrator.scheduling.feasible import refusal
from orchestrator.scheduling.fleet import MAX_HELD
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.models import Offer
from orchestrator.scheduling.policy import Plan, Rules, decide
from tests.unit.scheduling.builders import GB, entry, offer, worker

MODELS = ("a", "b", "c", "d")
WORKERS = ("w0", "w1", "w2", "w3")
VRAM = {"w0": 10 * GB, "w1": 10 * GB, "w2": 20 * GB, "w3": None}
HUNGRY = (("w0",), 10 * GB)  # it avoids w0, where its VRAM was too small
RULES = Rules(overtake_s=30.0, heads=3)
ALL = offer(*MODELS, classes=("Sampler", "Extra"))
OFFERS: tuple[Offer | None, ...] = (ALL, ALL, offer(*MODELS), offer("a", "b"), offer("c", classes=("Extra",)), None)
STATES = (WorkerState.READY, WorkerState.READY, *WorkerState)


class FleetMachine(RuleBasedStateMachine):
    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.index, self.twin = Index(), Index()
        self.now = 0.0
        self.arrivals = 0
        self.queued: dict[str, QueueEntry] = {}
        self.on: dict[str, str] = {}  # run -> worker
        self.beyond: set[tuple[Needs, tuple[str, ...]]] = set()  # groups whose heads were beyond their tenants' shares
        self.planned: set[str] = set()  # those there by our own plans
        self.workers: dict[str, tuple[Worker, Offer | None]] = {}

    def tell(self, verb: str, *args: object, twice: bool = False) -> None:
        for index in (self.index, self.twin):
            for _ in range(1 + twice):
                getattr(index, verb)(*args, self.now)

    @initialize(offers=st.lists(st.sampled_from(OFFERS), min_size=1, max_size=len(WORKERS)))
    def some_workers(self, offers: list[Offer | None]) -> None:
        for name, what in zip(WORKERS, offers, strict=False):
            self.set_worker(name, WorkerState.READY, what, ("default",), ())

    @rule(
        target=runs,
        burst=st.lists(
            st.tuples(
                st.lists(st.sampled_from(MODELS), max_size=2, unique=True).map(sorted),
                st.sampled_from(("high", "normal", "normal", "normal", "low")),
                st.sampled_from((((), 0), ((), 0), ((), 0), (("w0",), 0), (("w0", "w1", "w2", "w3"), 0), HUNGRY)),
                st.sampled_from((("Sampler",), ("Sampler",), ("Sampler",), ("Extra",))),
                st.sampled_from(("quick@1", "slow@1")),
                st.sampled_from(("default", "default", "acme", "zoo")),
            ),
            min_size=1,
            max_size=6,
        ),
        twice=st.booleans(),
    )
    def arrive(
        self, burst: list[tuple[list[str], str, tuple[tuple[str, ...], int], tuple[str, ...], str, str]], twice: bool
    ) -> MultipleResults[QueueEntry]:
        new: list[QueueEntry] = []
        for models, priority, (avoid, vram_over), classes, profile, tenant in burst:
            self.arrivals += 1
            run = entry(
                self.arrivals, *models, at=1000.0 + self.now, priority=priority, profile=profile, avoid=avoid,
                classes=classes, vram_over=vram_over, tenant=tenant,
            )  # fmt: skip
            new.append(run)
            self.queued[run.run_id] = run
            self.tell("queued", run, twice=twice)
        self.decide()
        return multiple(*new)

    @rule(run=consumes(runs), twice=st.booleans())
    def leave(self, run: QueueEntry, twice: bool) -> None:
        """It is canceled, or ends on its worker."""
        if run.run_id in self.on:
            del self.on[run.run_id]
            self.tell("ended", run.run_id, Residency(run.needs.models), twice=twice)
        else:
            self.queued.pop(run.run_id, None)
            self.tell("gone", run.run_id, twice=twice)
        self.decide()

    @rule(run=runs, twice=st.booleans())
    def start(self, run: QueueEntry, twice: bool) -> None:
        if run.run_id in self.on:
            self.tell("started", run.run_id, self.on[run.run_id], twice=twice)
            self.decide()

    @rule(run=runs)
    def refuse_assignment(self, run: QueueEntry) -> None:
        """The store would not do what was planned."""
        if run.run_id in self.planned and self.on.pop(run.run_id, None) is not None:
            self.planned.discard(run.run_id)
            self.queued[run.run_id] = run
            self.tell("not_assigned", run.run_id)

    @rule(run=runs, name=st.sampled_from(WORKERS))
    def assigned_by_another_leader(self, run: QueueEntry, name: str) -> None:
        if run.run_id in self.queued and name in self.workers:
            del self.queued[run.run_id]
            self.on[run.run_id] = name
            self.tell("assigned", run.run_id, name)

    @rule(
        name=st.sampled_from(WORKERS), state=st.sampled_from(STATES), what=st.sampled_from(OFFERS),
        pool=st.tuples(st.sampled_from(("default", "default", "other"))),
        resident=st.lists(st.sampled_from(MODELS), max_size=2, unique=True),
    )  # fmt: skip
    def set_worker(
        self, name: str, state: WorkerState, what: Offer | None, pool: tuple[str], resident: list[str] | tuple[()]
    ) -> None:
        if any(self.on[run] == name for run in self.on):
            pool = (self.workers[name][0].info.pool,)  # it moves to another pool only empty
        new = worker(name, state=state, pool=pool[0], vram=tuple(resident), vram_bytes=VRAM[name])
        self.workers[name] = new, what
        self.tell("worker", new, what)
        self.decide()

    @rule(name=st.sampled_from(WORKERS))
    def forget_worker(self, name: str) -> None:
        if name not in self.on.values():
            self.workers.pop(name, None)
            self.tell("forgotten", name)

    @rule(seconds=st.sampled_from((0.01, 0.6, 3.0, 20.0, 700.0)))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.decide()

    @rule(profile=st.sampled_from(("quick@1", "slow@1")))
    def learn(self, profile: str) -> None:
        for index in (self.index, self.twin):
            index.learned.ran(profile, "", "w0", 0.0, 0.0, 0.01 if profile == "quick@1" else 8.0)

    @rule()
    def end_something(self) -> None:
        """What workers do most of all."""
        if self.on:
            run_id, _ = next(iter(self.on.items()))
            del self.on[run_id]
            self.tell("ended", run_id, None)
            self.decide()

    def decide(self) -> None:
        before = dict(self.queued)
        pools = self.index.pools
        self.beyond = {(it.needs, it.avoid) for pool in pools.values() for it in pool.queue.line if it.excess}
        plan = decide(self.index, self.now, RULES)
        assert plan == decide(self.twin, self.now, RULES)
        self.check(plan, before)

    def check(self, plan: Plan, before: dict[str, QueueEntry]) -> None:
        for placement in plan.placements:
            run = self.queued.pop(placement.run_id)  # queued until now, and not twice in the plan
            assert placement.attempt == run.attempt
            state, what = self.workers[placement.worker]
            assert state.state is WorkerState.READY
            assert state.info.pool == run.pool
            assert _able(state, what, run)
            assert placement.worker not in run.avoid or not self._others(run)
            self.on[placement.run_id] = placement.worker
            self.planned.add(placement.run_id)
        served = {(before[it.run_id].needs, before[it.run_id].avoid) for it in plan.placements}
        for placement in plan.placements:
            self._check_overtaking(before[placement.run_id], placement.worker, served)
        for refusal_ in plan.refusals:
            run = self.queued.pop(refusal_.run_id)
            assert not any(
                _able(state, what, run)
                for state, what in self.workers.values()
                if state.state is WorkerState.READY and state.info.pool == run.pool
            )
        for pool in self.index.pools.values():
            for view in pool.fleet.workers.values():
                assert len(view.held) <= MAX_HELD or not plan.placements
        if not plan.placements:
            self._check_nobody_idles()

    def _others(self, run: QueueEntry) -> bool:
        return any(
            state.state is WorkerState.READY and state.info.pool == run.pool and name not in run.avoid
            and _able(state, what, run)
            for name, (state, what) in self.workers.items()
        )  # fmt: skip

    def _check_overtaking(self, taken: QueueEntry, worker_id: str, served: set[tuple[Needs, tuple[str, ...]]]) -> None:
        """What waits, could have gone to this worker and stood more than overtake_s before, waits for a warm one.

        Or it was beyond its tenant's share. Or it stood behind such a one of its group, which has just got it."""
        pool = self.index.pools["default"]
        view = pool.fleet.workers[worker_id]
        standing = tickets.standing(taken, 0.0)
        for group in pool.queue.line:
            if group.standing_s < standing - RULES.overtake_s and refusal(view, group, pool.fleet) is None:
                waits = group.patience is not None and group.patience[0] == group.head
                key = group.needs, group.avoid
                assert waits or group.excess or key in self.beyond or key in served

    def _check_nobody_idles(self) -> None:
        """No worker idles beside a run that it could take, nothing to load."""
        for pool in self.index.pools.values():
            for view in pool.fleet.open:
                for group in pool.queue.line:
                    if not view.held and refusal(view, group, pool.fleet) is None:
                        assert view.memory.load_s(group.files) > 0

    @invariant()
    def the_books_agree(self) -> None:
        for index in (self.index, self.twin):
            waiting = sum(group.size for pool in index.pools.values() for group in pool.queue.line)
            assert waiting == len(index)
            assert len(index) <= len(self.queued)  # those that are in doubt are neither
            for pool in index.pools.values():
                heads = [group.next for group in pool.queue.line]
                assert heads == sorted(heads)
                for view in pool.fleet.workers.values():
                    assert view.files == view.memory.files()
                    assert (view in pool.fleet.open) <= (view.open_until() > 0)
                    for file in view.files:
                        assert view in pool.fleet.holders.of(file)
                        assert (view in pool.fleet.open_holders.of(file)) == (view in pool.fleet.open)


def _able(worker: Worker, what: Offer | None, run: QueueEntry) -> bool:
    needs, vram = run.needs, worker.info.vram_bytes
    has_all = what is not None and set(needs.classes) <= what.classes and set(needs.models) <= what.models
    return has_all and (not needs.vram_over or vram is None or vram > needs.vram_over)


FleetMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestFleet = FleetMachine.TestCase
