"""The real dispatcher on a virtual clock, with a store and workers in memory: the same story for each seed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.controller.dispatcher import Dispatcher
from orchestrator.controller.leadership import Leadership
from orchestrator.controller.metrics import DispatchMetrics
from orchestrator.domain.worker import WorkerKind, WorkerState
from orchestrator.scheduling.infeasible import GRACE_S
from orchestrator.scheduling.policy import Rules
from orchestrator.settings import LeaseSettings
from tests.sim.fleet import MemoryStore, clock
from tests.sim.virtual_time import run

LEASES = LeaseSettings()
RULES = Rules()


@asynccontextmanager
async def dispatching(store: MemoryStore, name: str = "one") -> AsyncIterator[CollectorRegistry]:
    """A controller, for as long as the body runs."""
    registry = CollectorRegistry()
    leadership = Leadership(store, name, LEASES)
    dispatcher = Dispatcher(store, leadership, RULES, DispatchMetrics(registry))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(leadership.run()), group.create_task(dispatcher.run())]
        yield registry
        for task in tasks:
            task.cancel()


def test_two_workers_and_two_models_interleaved_load_each_model_once() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        machines = [store.add_worker("w1"), store.add_worker("w2")]
        async with dispatching(store):
            for _ in range(20):
                store.submit("a.safetensors", seconds=0.5)
                store.submit("b.safetensors", seconds=0.5)
                await asyncio.sleep(0.2)
            await store.settled()
        loads = machines[0].loads + machines[1].loads
        assert loads == {"a.safetensors": 1, "b.safetensors": 1}
        assert store.states() == {"succeeded": 40}

    run(scenario())


def test_what_arrives_in_an_idle_fleet_is_assigned_without_waiting_for_any_tick() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.add_worker("w1")
        async with dispatching(store):
            await asyncio.sleep(10)
            run_id = store.submit(None)
            await store.settled()
        # The store's lag to tell of it, and to be told: nothing else.
        assert store.runs[run_id].waited_s == pytest.approx(2 * store.lag_s, abs=1e-6)

    run(scenario())


@pytest.mark.parametrize(("seconds", "had", "lags"), [(1.0, 2, 0), (5.0, 1, 2)])
def test_behind_a_short_run_the_next_one_waits_and_behind_a_long_one_none(seconds: float, had: int, lags: int) -> None:
    async def scenario() -> None:
        store = MemoryStore()
        machine = store.add_worker("w1")
        async with dispatching(store):
            for _ in range(10):
                store.submit(None, seconds=seconds)
            await store.settled()
        ended = sorted(record.ended_at for record in store.runs.values() if record.ended_at)
        gaps = [after - before - seconds for before, after in pairwise(ended)]
        assert machine.had_at_most == had
        # Once it was learned how long they take, a gap is the store's lag to tell of an end, and of a run.
        assert max(gaps[3:]) == pytest.approx(lags * store.lag_s, abs=1e-6)

    run(scenario())


def test_short_runs_are_given_in_such_number_that_the_worker_never_idles() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        machine = store.add_worker("w1")
        async with dispatching(store):
            for _ in range(2000):
                store.submit(None, seconds=0.005)
            await store.settled()
        last = max(record.ended_at or 0.0 for record in store.runs.values())
        assert last < 2000 * 0.005 * 1.05
        assert 10 < machine.had_at_most <= 64

    run(scenario())


@pytest.mark.parametrize(("kind", "files"), [(WorkerKind.SUPERVISED, ["b.safetensors"]), (WorkerKind.ATTACHED, [])])
def test_a_worker_that_reaches_its_files_is_told_to_read_ahead_what_the_next_run_needs(
    kind: WorkerKind, files: list[str]
) -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.add_worker("w1", kind=kind)
        for model in "ab":
            store.submit(f"{model}.safetensors", seconds=20.0)
        async with dispatching(store):
            await asyncio.sleep(5.0)
            assert [ref.name for mail in store.mails for ref in mail.files] == files
            await store.settled()

    run(scenario())


def test_an_idle_cold_worker_leaves_a_run_to_the_warm_one_that_is_done_sooner() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        warm, cold = store.add_worker("warm"), store.add_worker("cold", models=("a.safetensors",))
        async with dispatching(store):
            for _ in range(4):  # one at a time: that they take a second is known after these
                store.submit("a.safetensors", seconds=1.0)
                await store.settled()
            store.submit("a.safetensors", seconds=1.0)
            await asyncio.sleep(0.1)
            second = store.submit("a.safetensors", seconds=1.0)
            await store.settled()
        assert warm.loads + cold.loads == {"a.safetensors": 1}
        assert (store.runs[second].waited_s or 0.0) < 1.0

    run(scenario())


def test_a_long_backlog_of_one_model_brings_it_to_a_second_worker() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        machines = [store.add_worker("w1"), store.add_worker("w2")]
        async with dispatching(store):
            for _ in range(60):
                store.submit("a.safetensors", seconds=2.0)
            await store.settled()
        assert [machine.loads["a.safetensors"] for machine in machines] == [1, 1]
        assert clock() < 80

    run(scenario())


def test_a_busy_line_of_high_priority_delays_low_runs_and_does_not_starve_them() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.add_worker("w1")
        async with dispatching(store):
            low = [store.submit(None, seconds=3.0, priority="low") for _ in range(5)]
            for _ in range(1000):  # twice what the worker can do, for 1,500 s
                store.submit(None, seconds=3.0, priority="high")
                await asyncio.sleep(1.5)
            await store.settled()
        waits = [store.runs[run_id].waited_s or 0.0 for run_id in low]
        # 1,200 s of head start, in which 2,400 s of work arrive; what comes later stands behind.
        assert 1200 < min(waits) <= max(waits) < 2400 + 60

    run(scenario())


def test_what_nobody_can_do_is_refused_after_a_grace_and_says_what_is_missing_where() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.add_worker("w1")
        async with dispatching(store):
            infeasible = [store.submit("c.safetensors") for _ in range(3)]
            fine = store.submit("a.safetensors")
            await asyncio.sleep(GRACE_S)
            assert not store.refused
            await asyncio.sleep(2 * GRACE_S)
            await store.settled()
        assert store.refused.keys() == set(infeasible)
        error = store.refused[infeasible[0]]
        assert error.code == "no_capable_worker"
        assert "put c.safetensors into models/checkpoints" in error.message
        assert error.details["missing_models"] == ["checkpoints/c.safetensors"]
        assert store.runs[fine].state == "succeeded"

    run(scenario())


def test_a_worker_that_comes_within_the_grace_saves_the_run() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.add_worker("w1")
        async with dispatching(store):
            run_id = store.submit("c.safetensors")
            await asyncio.sleep(GRACE_S * 1.5)
            store.add_worker("w2", models=("c.safetensors",))
            await store.settled()
        assert store.runs[run_id].worker == "w2"
        assert not store.refused

    run(scenario())


def test_nothing_is_refused_while_no_worker_is_ready_or_a_capable_one_was_lost_recently() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.add_worker("w1")
        capable = store.add_worker("w2", models=("c.safetensors",))
        async with dispatching(store):
            capable.die()
            await asyncio.sleep(1)
            run_id = store.submit("c.safetensors")
            elsewhere = store.submit("a.safetensors", pool="empty")
            await asyncio.sleep(5 * GRACE_S)
            assert store.runs[run_id].state == store.runs[elsewhere].state == "queued"
            capable.revive()
            store.add_worker("w3", pool="empty")
            await store.settled()
        assert store.states() == {"succeeded": 2}

    run(scenario())


def test_a_retry_avoids_the_worker_that_lost_the_run_unless_there_is_no_other() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        first = store.add_worker("w1")
        async with dispatching(store):
            store.submit(None, seconds=5.0)
            await asyncio.sleep(1)
            first.die()
            await asyncio.sleep(1)
            first.revive()  # it is the only one, so it may try again
            await asyncio.sleep(1)
            second = store.add_worker("w2")
            await asyncio.sleep(1)
            first.die()
            await store.settled()
        last = list(store.runs.values())[-1]
        assert [record.worker for record in store.runs.values()] == ["w1", "w1", "w2"]
        assert last.state == "succeeded"
        assert second.had_at_most == 1

    run(scenario())


def test_an_assignment_that_the_store_refuses_is_put_right_by_the_feed_and_not_by_asking_again() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.add_worker("w1")
        store.lag_s = 0.05
        async with dispatching(store):
            await asyncio.sleep(1)
            store.cancel(store.submit(None))  # told as queued, gone by the time it is assigned
            await asyncio.sleep(0.2)
            before = store.assign_calls
            run_id = store.submit(None)
            await store.settled()
            assert (store.assign_calls - before, store.not_assigned) == (1, 0)
            assert store.runs[run_id].waited_s == pytest.approx(0.1)
            store.fleet["w1"] = replace(store.fleet["w1"], state=WorkerState.DOWN)
            lost = store.submit(None)  # the store knows better than the feed for two seconds
            await asyncio.sleep(2)
            assert store.not_assigned <= 5
            store.move_worker("w1", WorkerState.READY)
            await store.settled()
        assert store.runs[lost].state == "succeeded"

    run(scenario())


def test_another_controller_takes_over_and_knows_what_was_learned() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.add_worker("w1")
        async with dispatching(store, "one"):
            for _ in range(10):
                store.submit(None, seconds=3.0)
            await asyncio.sleep(25)
        assert store.learned is not None
        assert json.loads(store.learned)["execute"]["None/3.0@1"][0] == pytest.approx(3.0, rel=0.05)
        assert store.leader is None  # it resigned
        before = clock()
        async with dispatching(store, "two"):
            await asyncio.sleep(0.5)
            assert store.leader == "two"
            await store.settled()
        assert clock() - before < 10
        assert store.states() == {"succeeded": 10}

    run(scenario())


def test_two_controllers_do_not_dispatch_at_once_and_a_dead_one_is_replaced() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.add_worker("w1")
        async with dispatching(store, "one"), dispatching(store, "two"):
            await asyncio.sleep(1)
            assert store.leader == "one"
            store.leader = "two"  # its lease ran out while it hung
            store.submit(None)
            await asyncio.sleep(LEASES.leader_s)
            store.submit(None)
            await store.settled()
        assert store.not_assigned == 0
        assert store.states() == {"succeeded": 2}

    run(scenario())


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_every_run_ends_and_ends_well(seed: int) -> None:
    async def scenario() -> tuple[float, int]:
        store = MemoryStore(seed)
        chance = store.random
        for n in range(6):
            store.add_worker(f"w{n}", pace=chance.choice((0.7, 1.0, 1.6)), spread=0.3)
        store.add_worker("w6", models=("b.safetensors", "c.safetensors"))
        async with dispatching(store, "one"), dispatching(store, "two"):
            for _ in range(400):
                model = chance.choices((None, "a.safetensors", "b.safetensors", "c.safetensors"), (2, 5, 3, 1))[0]
                run_id = store.submit(
                    model, seconds=chance.choice((0.2, 2.0, 6.0)), priority=chance.choice(("high", "normal", "low"))
                )
                await asyncio.sleep(chance.expovariate(2.0))
                await _mischief(store, run_id)
            await store.settled()
        final = store.states()
        lost = final.pop("lost", 0)
        assert final.keys() <= {"succeeded", "canceled"}
        assert len(store.runs) - lost == 400
        assert not store.refused
        assert all(machine.had_at_most <= 64 for machine in store.machines.values())
        return clock(), lost

    assert run(scenario()) == run(scenario())  # from one seed, one story


async def _mischief(store: MemoryStore, run_id: str) -> None:
    """Now and then something goes wrong."""
    chance = store.random
    worker_id = chance.choice(sorted(store.fleet.keys() - {"w6"}))
    match chance.choices(("nothing", "cancel", "die", "drain", "trim", "depose"), (80, 8, 4, 4, 2, 2))[0]:
        case "cancel":
            store.cancel(run_id)
        case "die" if store.fleet[worker_id].state is WorkerState.READY:
            asyncio.get_running_loop().call_later(20, store.machines[worker_id].revive)
            await store.machines[worker_id].die(notice_s=chance.uniform(0, 3))
        case "drain" if store.fleet[worker_id].state is WorkerState.READY:
            store.move_worker(worker_id, WorkerState.DRAINING)
            asyncio.get_running_loop().call_later(5, store.move_worker, worker_id, WorkerState.READY)
        case "trim":
            store.trim_feed()
        case "depose":
            store.leader = "two" if store.leader == "one" else "one"
        case _:
            pass
