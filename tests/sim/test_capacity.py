"""How many workers a load needs, in virtual time."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.simulator.fleet.capacity import Load, attempt, plan, spread_of, workload_of


def test_the_answer_is_the_least_that_does_it_in_time() -> None:
    load, latency_s = Load(jobs_per_hour=1800, execute_s=10.0), 20.0
    trials = plan(load, latency_s, seed=1)
    answer = next(trial for trial in trials if trial.p95_s <= latency_s)
    assert load.workers < answer.workers <= 2 * load.workers
    assert attempt(workload_of(load, 1), answer.workers - 1, 1).p95_s > latency_s
    assert answer.busy == pytest.approx(load.workers / answer.workers, rel=0.1)


def test_what_no_number_of_workers_can_do_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="allow that, or use a faster GPU"):
        plan(Load(jobs_per_hour=10, execute_s=10.0), 5.0, seed=1)


def test_a_large_fleet_is_filled_before_it_is_judged() -> None:
    load = Load(jobs_per_hour=36_000, execute_s=40.0)
    assert attempt(workload_of(load, 1), 400, 1).busy > 0.7


def test_more_workers_than_can_be_tried_are_refused_at_once() -> None:
    with pytest.raises(InvalidRequest, match="plan for a part of it"):
        plan(Load(jobs_per_hour=1e6, execute_s=100.0), 300.0, seed=1)


def test_the_spread_of_what_was_learned() -> None:
    assert spread_of(8.0, 17.26) == pytest.approx(0.3, abs=0.001)
    assert spread_of(8.0, 8.0) == 0.0
