"""Groups, heads and lines: what is next is what a sorted list says."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.needs import Needs
from orchestrator.scheduling import ticket as tickets
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.queue import STALE_SLACK, Group, Queue, Trait
from tests.unit.scheduling.builders import entry, run_id

moves = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.booleans()), max_size=80)


@given(moves)
def test_heads_are_the_oldest_of_each_group_and_the_line_is_in_their_order(steps: list[tuple[int, int, bool]]) -> None:
    queue, valid = Queue("default"), dict[int, int]()
    traits: dict[int, Trait] = {}
    model: dict[int, tuple[int, int]] = {}  # run number -> group, ticket
    for number, (which, at, leaves) in enumerate(steps, 1):
        if leaves and model:
            gone = sorted(model)[at % len(model)]
            del model[gone]
            del valid[gone]
            trait = traits.pop(gone)
            trait.group.remove(trait, valid)
            queue.settle(trait.group, valid)
            continue
        needs = Needs((f"class-{which}",))
        group = queue.group(needs, ()) or Group("default", needs, (), ())
        valid[number] = ticket = tickets.issue(float(at), 0, 0, number)
        trait = traits[number] = group.trait("normal", 1, "flow@1")
        group.add(ticket, trait)
        queue.settle(group, valid)
        model[number] = which, ticket
    heads = [
        min(ticket for group, ticket in model.values() if group == which) for which in {g for g, _ in model.values()}
    ]
    assert [group.next for group in queue.line] == sorted(heads)
    assert sum(group.size for group in queue.line) == len(model)
    family = queue.families.get(None)
    assert [group.next for group in family or ()] == sorted(heads)


def test_runs_that_leave_from_the_middle_do_not_stay_in_memory() -> None:
    index = Index()
    for number in range(1, 1001):
        index.queued(entry(number, at=float(number)), 0.0)
    for number in range(2, 1000):
        index.gone(run_id(number), 0.0)
    (group,) = index.pools["default"].queue.line
    assert group.size == 2
    assert len(group._heap) <= 2 * group.size + STALE_SLACK + 1  # pyright: ignore[reportPrivateUsage]


def test_an_empty_group_and_its_family_are_forgotten() -> None:
    index = Index()
    index.queued(entry(1, "a"), 0.0)
    queue = index.pools["default"].queue
    index.gone(run_id(1), 0.0)
    assert not len(queue.line)
    assert not queue.families
    assert queue.group(entry(1, "a").needs, ()) is None


def test_priority_shifts_a_run_by_its_head_start_and_no_more() -> None:
    low = tickets.standing(entry(1, at=1000.0, priority="low"), 10.0)
    high = tickets.standing(entry(2, at=2199.0, priority="high"), 10.0)
    late = tickets.standing(entry(3, at=2201.0, priority="high"), 10.0)
    assert high < low < late


def test_a_deadline_brings_a_run_forward_as_far_as_it_takes_and_never_before_high() -> None:
    def standing(deadline_s: float | None, priority: str = "normal") -> float:
        return tickets.standing(replace(entry(1, at=1000.0, priority=priority), deadline_s=deadline_s), 10.0)

    assert standing(3600.0) == standing(None) == 1000.0
    assert standing(310.0) == 1000.0 - 300.0  # it is to begin within 300 s, where others may be kept for 600
    assert standing(5.0) == 1000.0 - tickets.HEAD_START_S["high"]
    assert standing(310.0, "low") == standing(310.0)
    assert standing(310.0, "high") == standing(None, "high")


@given(st.uuids(), st.integers(0, 2**44), st.integers(0, 2**24 - 1), st.integers(0, 2**20 - 1), st.booleans())
def test_a_ticket_holds_all_that_it_was_made_of(
    identity: UUID, at_ms: int, trait: int, tenant: int, excess: bool
) -> None:
    number = tickets.number_of(str(identity))
    ticket = tickets.issue(at_ms / 1000, trait, tenant, number) + excess * tickets.EXCESS
    assert tickets.run_id(ticket) == str(identity)
    assert tickets.number(ticket) == number
    assert (tickets.trait(ticket), tickets.tenant(ticket)) == (trait, tenant)
    assert tickets.standing_s(ticket) == at_ms / 1000
    assert (ticket >= tickets.EXCESS) == excess
