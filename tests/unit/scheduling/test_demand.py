"""How many workers a pool wants for what it has to do."""

from __future__ import annotations

from orchestrator.scheduling.demand import BEGIN_WITHIN_S, demands
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.policy import decide
from tests.unit.scheduling.builders import entry, learn, offer, worker


def test_what_waits_is_counted_in_seconds_and_what_executes_in_workers() -> None:
    index = Index()
    learn(index, "flow@1", 25.0)
    index.worker(worker("w1"), offer("a"), 0.0)
    index.queued(entry(1, "a"), 0.0)
    assert len(decide(index, 0.0).placements) == 1
    for number in range(2, 9):
        index.queued(entry(number, "a"), 0.0)
    demand = demands(index)["default"]
    assert (demand.busy, round(demand.queued_s, 3)) == (1, 7 * 25.0)
    assert demand.workers == 1 + -(-7 * 25 // BEGIN_WITHIN_S)


def test_an_idle_pool_wants_none() -> None:
    index = Index()
    index.worker(worker("w1"), offer("a"), 0.0)
    assert demands(index)["default"].workers == 0
