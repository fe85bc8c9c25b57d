"""What agents are told to fetch: what queued runs need and no ready worker has, or has too late; nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.job import JobError
from orchestrator.domain.needs import Content
from orchestrator.domain.worker import WorkerState
from orchestrator.scheduling.feasible import able, to_fetch
from orchestrator.scheduling.fetch import Fetches, Orders
from orchestrator.scheduling.index import DOWN_LONG_S, GRACE_S, Index
from orchestrator.scheduling.learned import Learned
from orchestrator.scheduling.models import NET_BYTES_S, Contents
from orchestrator.scheduling.policy import decide
from tests.unit.scheduling.builders import GB, checkpoint, entry, learn, offer, one, placed, run_id, worker

FETCH_S = 6 * GB / NET_BYTES_S
ALL = "abcd"


def joins(
    index: Index, name: str, has: str = "", faults: str = "", state: WorkerState = WorkerState.READY, now: float = 0.0
) -> None:
    """A worker with these models on its disk, whose lock names all of them."""
    told = {
        checkpoint(it): Content(6 * GB, it) if it in has else Content(6 * GB, it, True, "why" if it in faults else "")
        for it in ALL
    }
    contents = Contents(told)
    index.worker(worker(name, state=state), offer(*ALL).without(contents.remote), now, contents)


def refused(index: Index, now: float) -> list[JobError]:
    """Why runs are refused in the reviews of some time from now on."""
    return [refusal.error for step in range(1, 4) for refusal in decide(index, now + step * GRACE_S).refusals]


def fetches(index: Index, before: Orders, now: float) -> Orders:
    """What one look comes to."""
    fetching = Fetches(index)
    fetching.orders = before
    return look(fetching, now)


def look(fetching: Fetches, now: float) -> Orders:
    for _ in fetching.look(now):
        pass
    return fetching.orders


def orders(**files: str) -> Orders:
    return {name: tuple(map(checkpoint, letters)) for name, letters in files.items()}


def test_what_no_ready_worker_has_is_fetched_by_one_of_them_and_then_it_is_given_the_run() -> None:
    index = Index()
    joins(index, "w1", has="b")
    joins(index, "w2", has="b")
    index.queued(entry(1, "a"), 0.0)
    assert placed(decide(index, 0.0)) == {}
    assert fetches(index, {}, 0.0) == orders(w1="a")
    joins(index, "w1", has="ab", now=FETCH_S)
    assert fetches(index, orders(w1="a"), FETCH_S) == orders(w1="")
    assert one(index, FETCH_S).worker == "w1"


def test_nothing_is_fetched_that_no_queued_run_needs() -> None:
    index = Index()
    joins(index, "w")
    assert fetches(index, orders(w="a"), 0.0) == orders(w=""), "it is told to give that up"
    assert fetches(index, orders(w=""), 0.0) == {}, "once"
    index.queued(entry(1, "a"), 0.0)
    assert fetches(index, {}, 0.0) == orders(w="a")
    index.gone(run_id(1), 1.0)
    assert fetches(index, orders(w="a"), 1.0) == orders(w=""), "plans have changed"


def test_the_oldest_run_s_files_come_first() -> None:
    index = Index()
    joins(index, "w")
    for number, model in ((1, "c"), (2, "a"), (3, "b")):
        index.queued(entry(number, model, at=float(number)), 0.0)
    assert fetches(index, {}, 0.0) == orders(w="cab")


def test_what_one_fetches_already_is_no_reason_to_fetch_it_elsewhere_and_others_share_the_rest() -> None:
    index = Index()
    for name in ("w1", "w2"):
        joins(index, name)
    index.queued(entry(1, "a", at=1.0), 0.0)
    index.queued(entry(2, "b", at=2.0), 0.0)
    assert fetches(index, orders(w2="a"), 0.0) == orders(w2="a", w1="b")


def test_who_has_it_is_waited_for_unless_fetching_is_sooner() -> None:
    index = Index()
    learn(index, "flow@1", 5.0)
    joins(index, "has", has="a")
    joins(index, "lacks")
    for number in range(1, 4):
        index.queued(entry(number, "a", at=float(number)), 0.0)
    assert set(placed(decide(index, 0.0)).values()) == {"has"}
    assert fetches(index, {}, 0.0) == {}, "two runs wait, and the last would begin before the file had come"
    for number in range(4, 10):
        index.queued(entry(number, "a", at=float(number)), 0.0)
    assert fetches(index, {}, 0.0) == orders(lacks="a")


def test_a_copy_comes_to_a_gpu_that_is_faster_by_more_than_fetching_takes() -> None:
    for seconds, expected in ((30.0, orders(fast="a")), (3.0, {})):
        index = Index()
        contents = Contents({checkpoint("a"): Content(6 * GB, remote=True)})
        index.worker(worker("slow", gpu="slow"), offer("a"), 0.0)
        index.worker(worker("fast", gpu="fast"), offer("a").without(contents.remote), 0.0, contents)
        for _ in range(200):
            index.learned.ran("flow@1", "fast", "", 0.0, 0.0, seconds)
            index.learned.ran("flow@1", "slow", "", 0.0, 0.0, seconds * 3)
        index.queued(entry(1, "a"), 0.0)
        assert fetches(index, {}, 0.0) == expected


def test_whoever_asked_for_a_model_is_expected_to_ask_once_more() -> None:
    for seconds, expected in ((15.0, orders()), (25.0, orders(lacks="a"))):  # fetching takes 20 s
        index = Index()
        learn(index, "flow@1", seconds)
        joins(index, "has", has="a")
        joins(index, "lacks")
        index.queued(entry(1, "a"), 0.0)
        assert fetches(index, {}, 0.0) == expected


def test_the_more_runs_wait_the_more_workers_fetch() -> None:
    index = Index()
    learn(index, "flow@1", 10.0)
    for name in ("w1", "w2", "w3"):
        joins(index, name)
    for number in range(30):
        index.queued(entry(number, "a"), 0.0)
    known: Orders = {}
    for count in (1, 2, 3, 3):
        known = fetches(index, known, 0.0)
        assert len(known) == count


def test_what_could_not_be_fetched_is_missing_and_its_run_is_refused_with_the_reason() -> None:
    index = Index()
    joins(index, "w", has="b")
    index.queued(entry(1, "a"), 0.0)
    assert refused(index, 0.0) == [], "it may come"
    now = 3 * GRACE_S
    joins(index, "w", has="b", faults="a", now=now)
    assert fetches(index, orders(w="a"), now) == orders(w="")
    (error,) = refused(index, now)
    assert "w comes closest: why; mend that, or put a into models/checkpoints of its ComfyUI" in error.message
    assert error.details["missing_models"] == ["checkpoints/a"]


def test_a_worker_that_is_down_for_long_is_not_waited_for_to_fetch() -> None:
    index = Index()
    joins(index, "up", has="b", faults="a")
    joins(index, "down", state=WorkerState.DOWN)
    index.queued(entry(1, "a"), 0.0)
    assert fetches(index, {}, 0.0) == {}
    assert refused(index, 0.0) == [], "it may come back"
    assert [error.code for error in refused(index, DOWN_LONG_S)] == ["no_capable_worker"]


def test_how_long_it_takes_is_learned_of_each_worker_and_kept() -> None:
    index = Index()
    joins(index, "slow")
    joins(index, "usual")
    learn(index, "flow@1", 1.0)
    fetching = Fetches(index)
    index.queued(entry(1, "a"), 0.0)
    assert look(fetching, 0.0) == orders(slow="a")
    assert look(fetching, 60.0) == orders(slow="a")
    joins(index, "slow", has="a", now=4 * FETCH_S)
    decide(index, 4 * FETCH_S)
    look(fetching, 4 * FETCH_S)
    assert index.learned.fetch_pace("slow") == pytest.approx(2.0)
    assert Learned.load(index.learned.dump()).fetch_pace("slow") == pytest.approx(2.0)
    assert index.learned.fetch_pace("usual") == 1.0
    index.queued(entry(2, "b"), 100.0)
    assert look(fetching, 100.0) == orders(usual="b")


def test_what_came_at_once_tells_nothing_of_the_network() -> None:
    index = Index()
    joins(index, "w")
    fetching = Fetches(index)
    index.queued(entry(1, "a"), 0.0)
    look(fetching, 0.0)
    joins(index, "w", has="a", now=1.0)
    look(fetching, 1.0)
    assert index.learned.fetch_pace("w") == 1.0


LETTERS = st.text(ALL, max_size=4)
WORKERS = st.lists(st.tuples(LETTERS, LETTERS, st.sampled_from([WorkerState.READY, WorkerState.DRAINING])), max_size=4)
GROUPS = st.lists(st.sets(st.sampled_from(ALL), min_size=1), max_size=6)


@given(WORKERS, GROUPS, st.lists(LETTERS, max_size=4))
def test_whatever_waits_orders_are_what_it_needs_where_it_can_be_had_and_go_on(
    workers: list[tuple[str, str, WorkerState]], groups: list[set[str]], told: list[str]
) -> None:
    index = Index()
    for number, (has, faults, state) in enumerate(workers):
        joins(index, f"w{number}", has, faults, state)
    for number, needs in enumerate(groups):
        index.queued(entry(number, *sorted(needs)), 0.0)
    decide(index, 0.0)
    before = {f"w{number}": tuple(map(checkpoint, files)) for number, files in enumerate(told)}
    found = fetches(index, before, 0.0)
    waiting = list(index.pools["default"].queue.line) if "default" in index.pools else []
    assert {name for name, files in found.items() if not files} <= {name for name, files in before.items() if files}
    for name, files in found.items():
        if not files:
            continue
        view = index.view(name)
        assert view.state is WorkerState.READY
        assert len(set(files)) == len(files)
        assert view.offer is not None
        assert view.offer.remote.issuperset(files)
        useful = {file for group in waiting for file in to_fetch(view, group)}
        assert useful.issuperset(files)
    views = [index.view(f"w{number}") for number in range(len(workers))]
    ready = [view for view in views if view.state is WorkerState.READY]
    for group in waiting:
        could = [view for view in ready if to_fetch(view, group)]
        if could and not any(able(view, group) for view in ready):
            assert any(set(to_fetch(view, group)) <= set(found.get(view.id, ())) for view in could)
    again = fetches(index, found, 0.0)
    assert all(set(again[name]) >= set(files) for name, files in found.items() if files)
