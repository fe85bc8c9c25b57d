"""Every second of every worker is booked once, and at its rate, on a real Redis.

What a worker's seconds come to is measured without the ledger: by the times of its own story, from its first
registration until it is down.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest
from redis.asyncio import Redis

from orchestrator.domain.job import JobStatus
from orchestrator.domain.ledger import UNUSED, Entry, Kind
from orchestrator.domain.quality import Gate, Judgement, JudgementState, Policy, Rule
from orchestrator.domain.worker import WorkerEvent, WorkerState
from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.store.port import Assignment, Deliver, FailJob, MoreCandidates, RunKey
from orchestrator.store.redis import RedisStore
from tests.fixtures.stored import ERROR, output, result, submission, worker_info

RATE = 3.6  # dollars an hour: a tenth of a cent a second
RUN_S = 0.1
ROUNDING_S = 0.02  # a handful of times, each to the millisecond; and what passes between two commands
INFO = dataclasses.replace(worker_info(), gpu="a100", rate=RATE)
GATE = Gate(Policy({"sharpness": Rule(0.5)}, ("9",), candidates=2, reruns=1), "report")


async def ready(store: RedisStore) -> int:
    epoch = (await store.register(INFO)).epoch
    await asyncio.sleep(RUN_S)
    await store.inspected(INFO, epoch, b"{}", {})
    return epoch


async def assigned(store: RedisStore, run_id: str, attempt: int = 1) -> RunKey:
    assert await store.assign([Assignment(run_id, attempt, "w1", {})]) == [True]
    return RunKey(run_id, attempt, "w1")


async def executed(store: RedisStore, key: RunKey) -> None:
    """It executes for RUN_S, half of which is loading, and is committed a moment later."""
    await store.start(key)
    await asyncio.sleep(1.5 * RUN_S)
    await store.commit(key, dataclasses.replace(result(key.run_id), execute_s=RUN_S, load_s=RUN_S / 2))


async def booked(store: RedisStore) -> list[Entry]:
    return [it async for hour in store.ledger(time.time() - 3600, time.time() + 3600) for it in hour]


def of_kind(entries: list[Entry]) -> dict[Kind, float]:
    kinds: dict[Kind, float] = {}
    for it in entries:
        kinds[it.kind] = kinds.get(it.kind, 0.0) + it.seconds
    return kinds


async def up_s(store: RedisStore) -> float:
    """Seconds from registration until down, says the worker's story."""
    total, since = 0.0, None
    for change in reversed(await store.worker_changes("w1")):
        if change.state is WorkerState.DOWN and since is not None:
            total, since = total + change.at - since, None
        elif change.state is not WorkerState.DOWN and since is None:
            since = change.at
    assert since is None, "it is not down yet"
    return total


async def test_what_jobs_had_and_what_nobody_had_is_the_time_of_the_worker(store: RedisStore) -> None:
    epoch = await ready(store)
    first = submission(tenant="red")
    await store.submit(first)
    await executed(store, await assigned(store, first.entry.run_id))

    lost = submission()
    await store.submit(lost)
    key = await assigned(store, lost.entry.run_id)
    await store.start(key)
    await asyncio.sleep(RUN_S)
    again = await store.retry(key, "it hung", error=ERROR)
    assert again is not None
    await store.heartbeat("w1", epoch)
    await executed(store, await assigned(store, again, 2))

    canceled = submission()
    await store.submit(canceled)
    key = await assigned(store, canceled.entry.run_id)
    await store.start(key)
    await asyncio.sleep(RUN_S)
    await store.cancel(canceled.spec.id)
    await store.stopped(key)

    await store.move_worker("w1", WorkerEvent.DRAIN)
    await asyncio.sleep(RUN_S)
    await store.move_worker("w1", WorkerEvent.RESUME)
    gone = submission()
    await store.submit(gone)
    await store.start(await assigned(store, gone.entry.run_id))
    await asyncio.sleep(RUN_S)
    await store.lost_worker("w1", epoch, "its ComfyUI is gone")

    entries = await booked(store)
    measured_s = await up_s(store)
    jobs = [await store.job(it.spec.id) for it in (first, lost, canceled, gone)]
    charged = [run for job in jobs for run in job.runs]
    unused_s = sum(it.seconds for it in entries if it.kind in UNUSED)
    assert sum(run.charged_s for run in charged) + unused_s == pytest.approx(measured_s, abs=ROUNDING_S)
    dollars = sum(run.cost or 0.0 for run in charged) + sum(it.dollars for it in entries if it.kind in UNUSED)
    assert dollars == pytest.approx(measured_s * RATE / 3600, abs=ROUNDING_S * RATE / 3600)

    kinds = of_kind(entries)
    assert kinds[Kind.LOAD] == pytest.approx(RUN_S, abs=0.002)
    assert kinds[Kind.EXECUTE] == pytest.approx(RUN_S, abs=0.002)
    assert kinds[Kind.LOST] >= 2 * RUN_S
    assert all(kinds[kind] + 0.002 >= RUN_S for kind in (Kind.CANCELED, Kind.STARTING, Kind.DRAINING))
    assert {(it.workflow, it.version, it.tenant) for it in entries if it.kind is Kind.LOAD} == {
        ("p", "1", "red"), ("p", "1", "default"),
    }  # fmt: skip


async def test_what_is_down_costs_nothing_and_a_run_that_is_found_again_was_not_lost(store: RedisStore) -> None:
    epoch = await ready(store)
    it = submission()
    await store.submit(it)
    key = await assigned(store, it.entry.run_id)
    await store.start(key)
    await asyncio.sleep(RUN_S)
    await store.lost_worker("w1", epoch, "its agent was stopped")
    assert Kind.LOST in of_kind(await booked(store))
    await asyncio.sleep(3 * RUN_S)
    epoch = await ready(store)
    await store.commit(key, dataclasses.replace(result(key.run_id), execute_s=5 * RUN_S, load_s=0.0))
    await store.lost_worker("w1", epoch, "stopped")
    entries = await booked(store)
    assert Kind.LOST not in of_kind(entries)
    assert sum(each.seconds for each in entries) == pytest.approx(await up_s(store), abs=ROUNDING_S)


@pytest.mark.parametrize("delivered", [True, False])
async def test_candidates_that_nobody_gets_and_reruns_are_told_apart(store: RedisStore, delivered: bool) -> None:
    epoch = await ready(store)
    it = dataclasses.replace(submission(gate=GATE), candidates=({},))
    await store.submit(it)
    for run in (await store.job(it.spec.id)).runs:
        await executed(store, await assigned(store, run.id))
    assert await store.conclude(it.spec.id, 2, Judgement(JudgementState.RERUNNING), MoreCandidates(({},)))
    third = (await store.job(it.spec.id)).runs[2]
    await executed(store, await assigned(store, third.id))
    chosen = (1,) if delivered else ()
    conclusion = Deliver((output(third.id),)) if delivered else FailJob(ERROR)
    assert await store.conclude(it.spec.id, 3, Judgement(JudgementState.ACCEPTED, "", chosen), conclusion)
    await store.lost_worker("w1", epoch, "stopped")
    entries = await booked(store)
    kinds = of_kind(entries)
    assert kinds[Kind.DISCARDED] == pytest.approx(RUN_S if delivered else 2 * RUN_S, abs=0.002)
    assert kinds[Kind.RERUN] == pytest.approx(RUN_S, abs=0.002)
    assert kinds.get(Kind.LOAD, 0.0) == pytest.approx(RUN_S / 2 if delivered else 0.0, abs=0.002)
    assert sum(each.seconds for each in entries) == pytest.approx(await up_s(store), abs=ROUNDING_S)


async def test_what_is_executed_meanwhile_is_not_booked_as_unused(store: RedisStore) -> None:
    """Outputs of one run may still be on their way when the next one has ended."""
    epoch = await ready(store)
    slow, quick = submission(), submission()
    keys: list[RunKey] = []
    for it in (slow, quick):
        await store.submit(it)
        keys.append(await assigned(store, it.entry.run_id))
    await store.start(keys[0])
    await asyncio.sleep(RUN_S)
    await store.start(keys[1])
    await asyncio.sleep(RUN_S)
    for key in reversed(keys):
        await store.commit(key, dataclasses.replace(result(key.run_id), execute_s=RUN_S, load_s=0.0))
        await store.heartbeat("w1", epoch)
    await store.lost_worker("w1", epoch, "stopped")
    entries = await booked(store)
    assert of_kind(entries)[Kind.EXECUTE] == pytest.approx(2 * RUN_S, abs=0.002)
    assert sum(each.seconds for each in entries) == pytest.approx(await up_s(store), abs=ROUNDING_S)


async def test_what_is_counted_for_ever_keeps_only_so_many_workflows_apart(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, redis_url: str, namespace: str
) -> None:
    monkeypatch.setattr("orchestrator.store.redis.TOTAL_ROWS", 4)
    small = await RedisStore.connect(redis_url, namespace, LeaseSettings(), RetentionSettings(), LimitSettings())
    try:
        await ready(small)
        for n in range(8):
            it = submission(workflow=f"w{n}", version=1)
            await small.submit(dataclasses.replace(it, entry=dataclasses.replace(it.entry, profile=f"w{n}@1")))
            key = await assigned(small, it.entry.run_id)
            await small.start(key)
            await asyncio.sleep(0.01)
            await small.commit(key, dataclasses.replace(result(key.run_id), execute_s=0.005, load_s=0.0))
        ended = (await small.counts()).ended
        assert ended == {**{(f"w{n}", JobStatus.SUCCEEDED): 1 for n in range(4)}, ("(others)", JobStatus.SUCCEEDED): 4}
        spent = await small.spent()
        assert len({it.workflow for it in spent}) <= 5
        assert {"w0", "(others)"} <= {it.workflow for it in spent}
        assert sum(it.seconds for it in spent) == pytest.approx(sum(it.seconds for it in await booked(small)))
    finally:
        await small.close()


async def test_a_clock_that_jumps_makes_no_bill_of_decades(store: RedisStore, redis_url: str, namespace: str) -> None:
    epoch = await ready(store)
    async with Redis.from_url(redis_url) as redis:
        await redis.hset(f"{namespace}:worker:w1", "paid", 0)  # it was 1970 when it was heard of last
    await store.heartbeat("w1", epoch)
    assert sum(it.seconds for it in await store.spent()) <= 31 * 86_400 + 60
    async with Redis.from_url(redis_url) as redis:
        await redis.hset(f"{namespace}:worker:w1", "paid", int(time.time() + 3600) * 1000)  # and now it jumped back
    before = sum(it.seconds for it in await store.spent())
    await store.heartbeat("w1", epoch)
    assert sum(it.seconds for it in await store.spent()) == before


async def test_an_hour_keeps_only_so_many_entries_apart(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, redis_url: str, namespace: str
) -> None:
    monkeypatch.setattr("orchestrator.store.redis.LEDGER_ROWS", 4)
    small = await RedisStore.connect(redis_url, namespace, LeaseSettings(), RetentionSettings(), LimitSettings())
    try:
        await ready(small)
        for n in range(8):
            it = submission(tenant=f"t{n}")
            await small.submit(it)
            key = await assigned(small, it.entry.run_id)
            await small.commit(key, dataclasses.replace(result(key.run_id), execute_s=0.005, load_s=0.0))
        entries = await booked(small)
        assert len(entries) <= 6
        assert "(others)" in {it.tenant for it in entries}
    finally:
        await small.close()
