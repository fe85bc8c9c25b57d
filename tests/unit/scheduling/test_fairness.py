"""What tenants get of a pool while they compete, in GPU-seconds that really passed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduling.fairness import ALLOWED_S, KEPT, Fairness
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.policy import decide
from tests.unit.scheduling.builders import entry, learn, offer, run_id, worker
from tests.unit.scheduling.floor import Floor

ALL = offer("a", "b", "c")


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.floats(5.0, 60.0), min_size=2, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc")), min_size=1, max_size=30),
)
def test_equal_tenants_that_all_have_work_are_never_far_apart(
    workers: int, seconds: list[float], order: list[tuple[int, str]]
) -> None:
    """Whatever their runs take and need, as far as it is known how long they take."""
    floor = Floor(workers)
    names = [f"tenant-{n}" for n in range(len(seconds))]
    for name, takes in zip(names, seconds, strict=True):  # the first stands before all of the last
        learn(floor.index, f"{name}@1", takes)
        for n in range(40):
            who, model = order[n % len(order)]
            floor.submit(name, takes, model if who else "a")
    floor.decide()
    bound = 2 * ALLOWED_S * workers + 4 * workers * max(seconds)  # these are on workers, or about to be
    while all(floor.waiting[name] for name in names):
        floor.step()
        had = [floor.had[name] for name in names]
        assert max(had) - min(had) <= bound


def test_who_comes_later_does_not_wait_for_a_flood() -> None:
    floor = Floor(2)
    learn(floor.index, "flood@1", 10.0)
    learn(floor.index, "late@1", 10.0)
    for _ in range(1000):
        floor.submit("flood", 10.0)
    floor.decide()
    while floor.now < 1000:
        floor.step()
    came_at, begun = floor.now, floor.had["flood"]
    late = {floor.submit("late", 10.0) for _ in range(10)}
    while late:
        late -= set(floor.step())
    # Ahead of it is twice the allowance, and then both get as much.
    assert floor.now - came_at <= 2 * ALLOWED_S + 10 * 10.0 + 20
    assert floor.had["flood"] - begun <= 2 * ALLOWED_S * 2 + 10 * 10.0 + 40


def test_what_nobody_else_wanted_is_not_held_against_a_tenant() -> None:
    floor = Floor(1)
    for name in ("early", "late"):
        learn(floor.index, f"{name}@1", 10.0)
    for _ in range(300):
        floor.submit("early", 10.0)
    floor.decide()
    while floor.now < 1500:
        floor.step()
    for _ in range(100):
        floor.submit("late", 10.0)
    early, late = floor.had["early"], floor.had["late"]
    while floor.now < 2300:
        floor.step()
    assert floor.had["early"] - early == pytest.approx(floor.had["late"] - late, abs=2 * ALLOWED_S + 40)


def test_shares_are_by_weight() -> None:
    floor = Floor(2, {"gold": 3.0})
    for name in ("gold", "plain"):
        for _ in range(300):
            floor.submit(name, 10.0)
    floor.decide()
    while floor.waiting["gold"]:
        floor.step()
    assert floor.had["gold"] / 3 == pytest.approx(floor.had["plain"], abs=2 * ALLOWED_S * 2 + 40)
    assert floor.had["gold"] > 2.5 * floor.had["plain"]


def test_a_tenant_alone_is_served_as_if_there_were_no_shares() -> None:
    floor = Floor(1)
    learn(floor.index, "only@1", 10.0)
    for _ in range(40):
        floor.submit("only", 10.0, "a")
        floor.submit("only", 10.0, "b")
    floor.decide()
    taken: list[str] = []
    while floor.waiting["only"]:
        taken += floor.step()
    models = ["ab"[(int(run.rpartition("-")[2], 16) - 1) % 2] for run in taken]
    assert sum(one != other for one, other in pairwise(models)) == 1  # all of one, then the other


def test_an_urgent_run_takes_the_place_of_a_lesser_one_of_its_tenant() -> None:
    floor = Floor(1)
    for _ in range(100):
        floor.submit("one", 30.0)
    urgent = floor.submit("one", 30.0, priority="high")
    assert urgent in [*floor.decide(), *floor.step(), *floor.step()]


def test_tenants_without_work_are_forgotten() -> None:
    fairness = Fairness({})
    for n in range(3 * KEPT):
        tenant = fairness.tenant(f"tenant-{n}")
        assert fairness.arrive(tenant, 10.0)
        fairness.leave(tenant, within=True)
    assert fairness.tenant("one-more").number <= KEPT + 1


def test_the_same_run_twice_is_charged_once() -> None:
    index = Index()
    index.worker(worker("w1"), ALL, 0.0)
    learn(index, "flow@1", 10.0)
    index.queued(entry(1), 0.0)
    assert decide(index, 0.0).placements
    index.started(run_id(1), "w1", 0.0)
    for _ in range(2):
        index.ended(run_id(1), None, 25.0)
    assert index.pools["default"].fairness.tenant("default").had == pytest.approx(25.0)
