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
    queue, waiting = Queue("default"), dict[int, Trait]()
    model: dict[int, tuple[int, int]] = {}  # run number -> group, ticket
    for number, (which, at, leaves) in enumerate(steps, 1):
        if leaves and model:
            gone = sorted(model)[at % len(model)]
            del model[gone]
            trait = waiting.pop(gone)
            trait.group.remove(trait, waiting)
            queue.settle(trait.group, waiting)
            continue
        needs = Needs((f"class-{which}",))
        group = queue.group(needs, ()) or Group("default", needs, (), ())
        ticket = tickets.issue(entry(number, at=float(at)))
        trait = waiting[number] = group.trait("normal", 1, "flow@1")
        group.add(ticket, trait)
        queue.settle(group, waiting)
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
    low = tickets.issue(entry(1, at=1000.0, priority="low"))
    high = tickets.issue(entry(2, at=2199.0, priority="high"))
    late = tickets.issue(entry(3, at=2201.0, priority="high"))
    assert high < low < late


@given(st.uuids(), st.integers(0, 2_000_000_000_000))
def test_a_ticket_names_its_run_and_when_it_came(identity: UUID, at_ms: int) -> None:
    ticket = tickets.issue(replace(entry(1, at=at_ms / 1000), run_id=str(identity)))
    assert tickets.run_id(ticket) == str(identity)
    assert tickets.number(ticket) == tickets.number_of(str(identity))
    assert tickets.standing_s(ticket) == at_ms / 1000
