"""Which worker is warmed for what: never more than needed, spread, within VRAM, converging, and stable once it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.needs import ModelRef
from orchestrator.scheduling import warmth
from orchestrator.scheduling.warmth import Order, Plan, Seen, Stand, Warmth, Wish, plan

A, B, C, SHARED = (ModelRef("checkpoints", name) for name in ("a", "b", "c", "shared"))
WISH_A, WISH_B, WISH_C = Wish("a", {A: 4}), Wish("b", {B: 4}), Wish("c", {C: 4})
ALL = frozenset({"a", "b", "c"})


def stand(worker: str, *warm: str, room: float = 10, may: frozenset[str] | None = None, **more: object) -> Stand:
    holds = frozenset(ModelRef("checkpoints", name) for name in warm)
    given = {"able": ALL, "warm": frozenset(warm), "holds": holds, "may": ALL if may is None else may}
    return Stand(worker, room, **{**given, **more})  # pyright: ignore[reportArgumentType]


def test_one_replica_of_each_before_a_second_of_any() -> None:
    made = plan([WISH_A, WISH_B], 2, [stand("w1"), stand("w2")], set())
    assert made == Plan((Order("w1", "a"), Order("w2", "b")), {})


def test_nothing_is_ordered_where_enough_are_warm() -> None:
    assert plan([WISH_A, WISH_B], 1, [stand("w1", "a", "b"), stand("w2")], set()) == Plan((), {})


def test_the_worker_that_has_most_of_it_is_asked_and_then_the_emptiest() -> None:
    bundle = Wish("bundle", {A: 4, B: 4})
    able = frozenset({"bundle", "c", "a"})
    there = [stand("w1", able=able), stand("w2", "a", able=able, may=frozenset({"bundle"}))]
    assert plan([bundle], 1, [stand("w1", able=able, may=frozenset({"bundle"})), there[1]], set()).orders == (
        Order("w2", "bundle"),
    )
    assert plan([WISH_A, WISH_C], 1, [stand("w1", "a"), stand("w2")], set()).orders == (Order("w2", "c"),)


def test_a_replica_that_is_needed_is_not_pushed_out() -> None:
    made = plan([WISH_A, WISH_B], 1, [stand("w1", "a", room=6)], set())
    assert made.orders == ()
    assert made.short == {"b": "warm on 0 of 1 workers: no other has room for its models beside what it is to keep"}


def test_one_that_is_a_spare_gives_way_to_a_first() -> None:
    stands = [stand("w1", "a", room=6), stand("w2", "a", room=6)]
    assert plan([WISH_A, WISH_B], 2, stands, set()).orders == (Order("w1", "b"),)


def test_files_that_two_workflows_share_take_room_once() -> None:
    wishes = [Wish("a", {SHARED: 6, A: 1}), Wish("b", {SHARED: 6, B: 1})]
    there = stand("w1", room=8, warm=frozenset({"a"}))
    assert plan(wishes, 1, [there], set()).orders == (Order("w1", "b"),)


def test_workflows_that_were_seen_to_part_are_kept_apart() -> None:
    apart = {frozenset({"a", "b"})}
    assert plan([WISH_A, WISH_B], 1, [stand("w1", "a")], apart).orders == ()
    assert plan([WISH_A, WISH_B], 1, [stand("w1", "a"), stand("w2")], apart).orders == (Order("w2", "b"),)


def test_a_wish_for_more_than_there_are_costs_no_more_than_there_are() -> None:
    made = plan([WISH_A, WISH_B], 10**12, [stand("w1", "a"), stand("w2", "a")], set())
    assert made.orders == (Order("w1", "b"), Order("w2", "b"))
    assert set(made.short) == {"a", "b"}
    assert made.short["a"] == f"warm on 2 of {10**12} workers: no other can run it"


def test_what_nobody_can_run_is_said() -> None:
    made = plan([WISH_A], 2, [stand("w1", "a"), stand("w2", able=frozenset())], set())
    assert made == Plan((), {"a": "warm on 1 of 2 workers: no other can run it"})


# --- a fleet that obeys ---


@dataclass
class Machine:
    """Holds what ran last as far as it fits; with `forgetful`, the files of the last prompt alone."""

    room: int
    forgetful: bool = False
    epoch: int = 1
    vram: dict[ModelRef, int] = field(default_factory=dict)

    def run(self, files: Mapping[ModelRef, int]) -> None:
        kept = {} if self.forgetful else {file: size for file, size in self.vram.items() if file not in files}
        self.vram = {**kept, **files}
        while sum(self.vram.values()) > self.room and self.vram.keys() != files.keys():
            del self.vram[next(file for file in self.vram if file not in files)]


class World:
    """A clock, a pool, and machines that do as they are told."""

    def __init__(self, min_warm: int, wishes: tuple[Wish, ...], machines: Mapping[str, Machine]) -> None:
        self.warmth = Warmth(min_warm, wishes)
        self.machines = dict(machines)
        self.now = 1000.0
        self.warmed: list[Order] = []

    def seen(self) -> list[Seen]:
        able = frozenset(wish.workflow for wish in self.warmth.wishes)
        return [
            Seen(name, machine.epoch, machine.room, able, frozenset(machine.vram), idle=True)
            for name, machine in self.machines.items()
        ]

    def step(self) -> Plan:
        made = self.warmth.plan(self.seen(), self.now)
        for order in made.orders:
            self.warmth.ordered(order, self.now, 60.0)
        for order in made.orders:
            machine = self.machines[order.worker]
            machine.run(next(wish.files for wish in self.warmth.wishes if wish.workflow == order.workflow))
            self.warmth.ended(order.worker, order.workflow, True, self.now, machine.vram.keys())
            self.warmed.append(order)
        return made

    def settle(self, seconds: float = 600.0) -> Plan:
        """Steps until nothing has been ordered for longer than any pause of these lives."""
        quiet = 0.0
        while quiet < seconds:
            made = self.step()
            quiet = 0.0 if made.orders else quiet + 20.0
            self.now += 20.0
        return made

    def warm(self) -> dict[str, int]:
        return {wish.workflow: len(self.warmth.warm_on(wish.workflow)) for wish in self.warmth.wishes}


files = st.dictionaries(st.sampled_from([A, B, C, SHARED]), st.integers(1, 6), min_size=1, max_size=3)
machine = st.builds(Machine, room=st.integers(2, 16), forgetful=st.booleans())


@given(st.integers(1, 3), st.lists(files, min_size=1, max_size=3), st.lists(machine, max_size=4))
def test_whatever_the_pool_it_comes_to_rest(
    min_warm: int, needed: list[dict[ModelRef, int]], fleet: list[Machine]
) -> None:
    sizes = {file: size for each in needed for file, size in each.items()}
    wishes = tuple(Wish(f"flow-{n}", {file: sizes[file] for file in each}) for n, each in enumerate(needed))
    world = World(min_warm, wishes, {f"w{n}": machine for n, machine in enumerate(fleet)})
    made = world.settle()
    assert len(world.warmed) <= 4 * len(wishes) * min_warm
    for name, count in world.warm().items():
        assert count >= min_warm or name in made.short
    before = world.warm()
    world.settle(1200.0)
    assert world.warm() == before


@given(st.integers(1, 4), st.integers(1, 4))
def test_where_all_fits_each_workflow_is_warm_as_often_as_wanted_and_no_oftener(min_warm: int, workers: int) -> None:
    world = World(min_warm, (WISH_A, WISH_B, WISH_C), {f"w{n}": Machine(100) for n in range(workers)})
    world.settle()
    wanted = min(min_warm, workers)
    assert world.warm() == {"a": wanted, "b": wanted, "c": wanted}
    assert len(world.warmed) == 3 * wanted


def test_a_comfyui_that_keeps_one_prompts_models_is_asked_for_one_workflow() -> None:
    world = World(2, (WISH_A, WISH_B), {name: Machine(100, forgetful=True) for name in ("w1", "w2")})
    made = world.settle()
    assert world.warm() == {"a": 1, "b": 1}
    assert set(made.short) == {"a", "b"}
    assert len(world.warmed) <= 5


def test_what_was_lost_is_warmed_again_and_after_a_restart_too() -> None:
    world = World(1, (WISH_A,), {"w": Machine(10)})
    world.settle()
    world.machines["w"].vram.clear()  # /free
    assert world.step().orders == (Order("w", "a"),)
    world.machines["w"] = Machine(10, epoch=2)
    world.now += warmth.LOST_S
    assert world.step().orders == (Order("w", "a"),)


def test_what_is_lost_again_and_again_is_warmed_more_and_more_seldom() -> None:
    world = World(1, (WISH_A,), {"w": Machine(10)})
    for _ in range(3600):
        world.step()
        world.machines["w"].vram.clear()
        world.now += 1.0
    assert 5 <= len(world.warmed) <= 8


def test_one_that_fails_is_tried_elsewhere_and_here_only_after_a_while() -> None:
    world = World(1, (WISH_A,), {"w1": Machine(10), "w2": Machine(10)})
    [order] = world.warmth.plan(world.seen(), world.now).orders
    world.warmth.ordered(order, world.now, 60.0)
    world.warmth.ended("w1", "a", False, world.now)
    assert world.step().orders == (Order("w2", "a"),)
    del world.machines["w2"]
    for tries in range(3):
        world.now += warmth.FAILED_S * warmth.GROWTH**tries - 1.0
        assert world.warmth.plan(world.seen(), world.now).orders == ()
        world.now += 1.0
        [order] = world.warmth.plan(world.seen(), world.now).orders
        world.warmth.ordered(order, world.now, 60.0)
        world.warmth.ended("w1", "a", False, world.now)


@pytest.mark.parametrize("how", ["gone", "restarted", "silent"])
def test_an_answer_that_does_not_come_counts_as_a_failure(how: str) -> None:
    world = World(1, (WISH_A,), {"w": Machine(10)})
    [order] = world.warmth.plan(world.seen(), world.now).orders
    world.warmth.ordered(order, world.now, 60.0)
    if how == "gone":
        assert world.warmth.plan([], world.now).orders == ()
    elif how == "restarted":
        world.machines["w"].epoch += 1
    else:
        assert world.warmth.plan(world.seen(), world.now + 59.0).orders == ()
        world.now += 60.0
    assert world.warmth.plan(world.seen(), world.now).orders == ()
    assert world.warmth.plan(world.seen(), world.now + warmth.FAILED_S).orders == (Order("w", "a"),)


def test_one_that_was_given_up_is_tried_again_when_there_is_nothing_to_do() -> None:
    world = World(1, (WISH_A,), {"w": Machine(10)})
    [order] = world.warmth.plan(world.seen(), world.now).orders
    world.warmth.ordered(order, world.now, 60.0)
    world.warmth.given_up("w")
    assert world.warmth.plan(world.seen(), world.now).orders == (order,)


def test_files_that_comfyui_does_not_keep_in_vram_are_not_asked_for_again_until_it_restarts() -> None:
    """A text encoder on the CPU, an upscaler of an older ComfyUI."""
    world = World(1, (Wish("a", {A: 4, B: 1}),), {"w": Machine(10)})
    [order] = world.warmth.plan(world.seen(), world.now).orders
    world.warmth.ordered(order, world.now, 60.0)
    world.warmth.ended("w", "a", True, world.now, {A})
    world.machines["w"].vram = {A: 4}
    assert world.warmth.missed("w", "a") == {B}
    assert world.settle().orders == ()
    world.machines["w"].epoch = 2
    assert world.step().orders == (Order("w", "a"),)
