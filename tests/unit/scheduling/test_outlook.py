"""Where a queued run stands: its tenant's account, whether it is within the share, and whom it waits for."""

from __future__ import annotations

import pytest

from orchestrator.domain.outlook import Awaited
from orchestrator.domain.worker import WorkerState
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.outlook import outlook
from orchestrator.scheduling.policy import decide
from tests.unit.scheduling.builders import entry, learn, offer, one, placed, run_id, worker

ANY = offer("a", "b")


def busy(weights: dict[str, float] | None = None) -> Index:
    """One worker, which executes a run of 10 s of tenant greedy; 19 more of greedy wait, then one of modest."""
    index = Index(weights=weights)
    learn(index, "flow@1", 10.0)
    index.worker(worker("w"), ANY, 0.0)
    for number in range(20):
        index.queued(entry(number, at=float(number), tenant="greedy"), 0.0)
    index.queued(entry(20, at=20.0, tenant="modest"), 0.0)
    assert placed(decide(index, 0.0)) == {run_id(0): "w"}
    return index


def test_a_run_within_its_tenants_share_and_one_beyond_it() -> None:
    index = busy()
    first, last, other = (outlook(index, run_id(number), 0.0) for number in (1, 19, 20))
    assert first is not None
    assert last is not None
    assert other is not None
    assert (first.within, last.within, other.within) == (True, False, True)
    assert (last.tenant, last.portion, last.weight) == ("greedy", 0.5, 1.0)
    assert last.had_s - last.level_s == pytest.approx(5.0), "ten seconds, of which half are its share"
    assert last.allowed_s == 60.0
    assert (last.queued, last.queued_within) == (19, 7)
    assert (other.queued, other.queued_within, other.had_s) == (1, 1, 0.0)
    assert last.first == other.first == 8


def test_a_weighty_tenant_is_due_more_of_the_pool() -> None:
    stands = outlook(busy({"greedy": 3.0}), run_id(1), 0.0)
    assert stands is not None
    assert (stands.weight, stands.portion) == (3.0, 0.75)


def test_of_what_is_not_queued_nothing_is_told() -> None:
    index = busy()
    assert outlook(index, run_id(0), 0.0) is None
    assert outlook(index, run_id(99), 0.0) is None


def waiting(known: bool) -> Index:
    """Worker `warm` holds the model and executes; `cold` is open; a run of that model waits."""
    index = Index()
    learn(index, "other@1", 2.5)
    if known:
        learn(index, "flow@1", 0.5)
    index.worker(worker("warm", vram=("a",)), ANY, 0.0)
    index.queued(entry(1, "a", profile="other@1" if known else "flow@1"), 0.0)
    assert placed(decide(index, 0.0)) == {run_id(1): "warm"}
    index.worker(worker("cold"), ANY, 0.0)
    for number in (2, 3):
        index.queued(entry(number, "a", at=float(number)), 0.0)
    assert placed(decide(index, 0.0)) == {}
    return index


@pytest.mark.parametrize("known", [True, False], ids=("a warm worker", "the first of its kind"))
def test_it_says_whom_the_run_waits_for_for_how_long_and_why(known: bool) -> None:
    index = waiting(known)
    for number in (2, 3):
        stands = outlook(index, run_id(number), 0.5)
        assert stands is not None
        assert stands.awaited == Awaited("warm", pytest.approx(3.3 - 0.5), untried=not known)  # 6 GB from a disk
        late = outlook(index, run_id(number), 4.0)
        assert late is not None
        assert late.awaited is None


def test_a_placement_tells_whom_the_run_had_waited_for() -> None:
    index = waiting(known=True)
    index.gone(run_id(3), 1.0)
    index.worker(worker("warm", state=WorkerState.DRAINING, vram=("a",)), ANY, 1.0)
    placement = one(index, 1.0)
    assert placement.worker == "cold"
    assert placement.explanation.waited_for == placement.reasons["waited_for"] == "warm"
    assert "it had waited for warm, which held its models" in placement.reasons["why"]
