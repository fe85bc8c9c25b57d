"""Runs in the store, from their assignment to their end, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha1

import pytest

from orchestrator.domain.event import EventType
from orchestrator.domain.job import JobError, JobStatus, Progress
from orchestrator.domain.run import RunState
from orchestrator.domain.worker import WorkerEvent, WorkerState
from orchestrator.errors import IllegalTransition, NotFound, Superseded
from orchestrator.settings import LeaseSettings
from orchestrator.store.port import (
    Assignment,
    FeedItem,
    FeedKind,
    RunEnd,
    RunKey,
)
from orchestrator.store.redis import RedisStore
from tests.fixtures.stored import (
    ERROR,
    NEEDS,
    assigned,
    feed,
    new_id,
    output,
    ready,
    result,
    submission,
    waiting,
    worker_info,
)


async def test_the_whole_way_of_a_run(store: RedisStore) -> None:
    await ready(store)
    before = (await store.snapshot()).seq
    it, key = await assigned(store)
    order = await store.order(key.run_id)
    assert (order.run.worker, order.run.reasons, order.graph) == ("w1", {"load_s": 0.5}, it.graph)
    await store.start(key, since_staged_s=0.5)
    await store.progress(key, Progress(0.5, 1, 2, "3", "KSampler", 10, 20))
    await store.progress(key, Progress(0.2, 0, 2))
    assert (await store.job(it.spec.id)).progress == Progress(0.5, 1, 2, "3", "KSampler", 10, 20)  # never back
    await store.commit(key, result(key.run_id))
    await store.commit(key, result(key.run_id))  # told twice, done once

    job = await store.job(it.spec.id)
    assert (job.status, job.outputs) == (JobStatus.SUCCEEDED, (output(key.run_id),))
    run = job.runs[0]
    assert (run.state, run.worker, run.load_s) == (RunState.SUCCEEDED, "w1", 0.25)
    times = run.timings
    assert times.started_at and times.staged_at
    assert times.started_at - times.staged_at == pytest.approx(0.5, abs=0.01)
    assert times.executed_at == times.ended_at, "its start was told late: it cannot have executed beyond its end"
    kinds = [(event.type, event.data.get("status")) for event in await store.events(it.spec.id)]
    assert kinds == [
        (EventType.STATUS, "queued"), (EventType.STATUS, "running"), (EventType.PROGRESS, None),
        (EventType.OUTPUT, None), (EventType.STATUS, "succeeded"),
    ]  # fmt: skip
    worker = await store.worker("w1")
    assert (worker.runs, worker.residency) == ((), result(key.run_id).residency)
    items = await feed(store, before)
    assert [item.kind for item in items] == [FeedKind.QUEUED, FeedKind.ASSIGNED, FeedKind.STARTED, FeedKind.ENDED]
    ended = items[-1]
    assert ended.entry is not None
    assert (ended.worker, ended.entry.profile, ended.entry.needs) == ("w1", "p@1", NEEDS)
    assert ended.end == RunEnd(RunState.SUCCEEDED, 1.5, result(key.run_id).load_s, result(key.run_id).residency)
    assert (await store.counts()).queued == {}


async def test_that_a_run_only_delivers_any_more_is_told_while_it_is_ours(store: RedisStore) -> None:
    await ready(store)
    _, key = await assigned(store)
    before = (await store.snapshot()).seq
    await store.executed(key)
    (item,) = await feed(store, before)
    assert (item.kind, item.run_id, item.worker) == (FeedKind.EXECUTED, key.run_id, "w1")
    await store.commit(key, result(key.run_id))
    with pytest.raises(Superseded):
        await store.executed(key)


async def test_a_lost_run_is_tried_again_in_its_old_place_and_within_its_budget(store: RedisStore) -> None:
    await ready(store)
    it, key = await assigned(store, retries=1)
    later = submission()
    await store.submit(later)
    await store.start(key)
    second = await store.retry(key, "the worker went away", error=ERROR)
    assert second is not None
    with pytest.raises(Superseded):
        await store.commit(key, result(key.run_id))
    queued = await waiting(store)
    retried = next(entry for entry in queued if entry.run_id == second)
    other = next(entry for entry in queued if entry.run_id != second)
    assert (retried.attempt, retried.avoid) == (2, ("w1",))
    assert await store.entry(second) == retried
    assert await store.entry("of-nobody") is None
    assert retried.arrived_at <= other.arrived_at
    assert (await store.job(it.spec.id)).queue_position == 0
    assert (await store.job(later.spec.id)).queue_position == 1
    assert (await store.job(it.spec.id)).status is JobStatus.RUNNING  # who watches saw it start

    assert await store.assign([Assignment(second, 2, "w1", {})]) == [True]
    assert await store.retry(RunKey(second, 2, "w1"), "again", error=ERROR) is None
    job = await store.job(it.spec.id)
    assert (job.status, job.error) == (JobStatus.FAILED, ERROR)
    assert [run.state for run in job.runs] == [RunState.LOST, RunState.LOST]
    assert (await store.worker("w1")).runs == ()


async def test_a_run_that_was_too_large_asks_for_more_ever_after(store: RedisStore) -> None:
    await ready(store)
    it, key = await assigned(store, retries=2)
    second = await store.retry(key, "out of memory", error=ERROR, vram_over=24_000_000_000)
    assert second is not None
    assert await store.assign([Assignment(second, 2, "w1", {})]) == [True]
    third = await store.retry(RunKey(second, 2, "w1"), "the worker went away", error=ERROR)
    (again,) = [entry for entry in await waiting(store) if entry.job_id == it.spec.id]
    assert (again.run_id, again.needs.vram_over) == (third, 24_000_000_000)
    told = {item.run_id: item.entry.needs.vram_over async for item in _queued(store)}
    assert told == {key.run_id: 0, second: 24_000_000_000, third: 24_000_000_000}


async def _queued(store: RedisStore) -> AsyncIterator[FeedItem]:
    async for items in store.feed(0):
        for item in items:
            if item.kind is FeedKind.QUEUED:
                yield item
        return


async def test_what_is_given_back_before_it_began_costs_nothing(store: RedisStore) -> None:
    await ready(store)
    it, key = await assigned(store, retries=0)
    second = await store.retry(key, "draining", error=ERROR, free=True)
    assert second is not None
    assert await store.assign([Assignment(second, 2, "w1", {})]) == [True]
    await store.commit(RunKey(second, 2, "w1"), result(second))
    job = await store.job(it.spec.id)
    assert (job.status, [run.state for run in job.runs]) == (
        JobStatus.SUCCEEDED,
        [RunState.RETURNED, RunState.SUCCEEDED],
    )


async def test_only_one_of_two_assignments_holds(store: RedisStore) -> None:
    await ready(store, "w1")
    await ready(store, "w2")
    it = submission()
    await store.submit(it)
    run_id = it.entry.run_id
    both = await store.assign([Assignment(run_id, 1, "w1", {}), Assignment(run_id, 1, "w2", {})])
    assert sorted(both) == [False, True]
    with pytest.raises(Superseded):
        await store.commit(RunKey(run_id, 1, "w2" if both[0] else "w1"), result(run_id))


async def test_no_run_goes_to_a_worker_that_is_not_ready(store: RedisStore) -> None:
    await store.register(worker_info("w1"))
    it = submission()
    await store.submit(it)
    assert await store.assign([Assignment(it.entry.run_id, 1, "w1", {})]) == [False]
    assert await store.assign([Assignment(it.entry.run_id, 1, "unheard", {})]) == [False]
    await ready(store, "w1")
    await store.move_worker("w1", WorkerEvent.DRAIN)
    assert await store.assign([Assignment(it.entry.run_id, 1, "w1", {})]) == [False]
    await store.move_worker("w1", WorkerEvent.RESUME)
    assert await store.assign([Assignment(it.entry.run_id, 2, "w1", {})]) == [False]  # another attempt
    assert await store.assign([Assignment(it.entry.run_id, 1, "w1", {})]) == [True]


async def test_canceling_what_waits_is_final_at_once(store: RedisStore) -> None:
    it = submission()
    await store.submit(it)
    job = await store.cancel(it.spec.id)
    assert (job.status, job.runs[0].state) == (JobStatus.CANCELED, RunState.CANCELED)
    assert (await store.counts()).queued == {}
    assert (await store.cancel(it.spec.id)).status is JobStatus.CANCELED
    with pytest.raises(NotFound):
        await store.cancel(new_id())


async def test_canceling_what_runs_waits_for_its_worker(store: RedisStore) -> None:
    epoch = await ready(store)
    it, key = await assigned(store)
    other, _ = await assigned(store)
    await store.start(key)
    assert (await store.cancel(it.spec.id)).status is JobStatus.CANCELING
    assert (await store.heartbeat("w1", epoch)).canceling == (key.run_id,)
    with pytest.raises(Superseded):
        await store.commit(key, result(key.run_id))  # it finished before it could be stopped: canceled all the same
    job = await store.job(it.spec.id)
    assert (job.status, job.outputs, job.runs[0].state) == (JobStatus.CANCELED, (), RunState.CANCELED)
    assert (await store.job(other.spec.id)).status is JobStatus.QUEUED


@pytest.mark.parametrize("verb", ["stopped", "retry", "fail"])
async def test_a_canceled_run_that_ends_any_way_is_canceled(store: RedisStore, verb: str) -> None:
    await ready(store)
    it, key = await assigned(store)
    await store.cancel(it.spec.id)
    if verb == "stopped":
        await store.stopped(key)
    elif verb == "retry":
        with pytest.raises(Superseded):
            await store.retry(key, "lost", error=ERROR)
    else:
        with pytest.raises(Superseded):
            await store.fail(key, ERROR)
    assert (await store.job(it.spec.id)).status is JobStatus.CANCELED
    assert (await store.counts()).queued == {}


async def test_who_is_canceled_needs_no_deadline_to_explain_it(store: RedisStore) -> None:
    await ready(store)
    it = submission(deadline_at=1000.05)
    await store.submit(it)
    assert await store.assign([Assignment(it.entry.run_id, 1, "w1", {})]) == [True]
    await store.cancel(it.spec.id)
    async with asyncio.timeout(5):
        while not (job := await store.job(it.spec.id)).terminal:
            await store.reap()
    assert (job.status, job.error) == (JobStatus.CANCELED, None)


async def test_a_failure_keeps_its_error(store: RedisStore) -> None:
    await ready(store)
    it, key = await assigned(store)
    await store.start(key)
    error = JobError("node_error", "shapes do not match", "5", "KSampler", "Traceback ...")
    await store.fail(key, error)
    job = await store.job(it.spec.id)
    assert (job.status, job.error, job.runs[0].outcome) == (JobStatus.FAILED, error, "shapes do not match")
    with pytest.raises(Superseded):
        await store.fail(key, error)


async def test_a_run_that_nobody_can_do_is_refused(store: RedisStore) -> None:
    it = submission()
    await store.submit(it)
    error = JobError("missing_model", "no worker has it")
    await store.refuse(it.entry.run_id, 1, error)
    job = await store.job(it.spec.id)
    assert (job.status, job.error) == (JobStatus.FAILED, error)
    assert (await store.counts()).queued == {}


async def test_an_illegal_transition_is_a_bug_that_tells_its_story(store: RedisStore) -> None:
    await ready(store)
    it, key = await assigned(store)
    await store.start(key)
    await store.commit(key, result(key.run_id))
    database = store._db
    library = database._sources["stopped"].partition("-- A run is confirmed")[0]
    database._sources["bug"] = library + "run_end(ARGV[1], 'lose', now_ms(), '', '{}')"
    database._shas["bug"] = sha1(database._sources["bug"].encode()).hexdigest()
    with pytest.raises(
        IllegalTransition, match=rf"run {key.run_id} is succeeded, which has no lose;.* status .*running"
    ):
        await database.script("bug", key.run_id)
    assert (await store.job(it.spec.id)).runs[0].state is RunState.SUCCEEDED


async def test_registering_again_supersedes_the_agent_before(store: RedisStore) -> None:
    first = await ready(store)
    _, key = await assigned(store)
    second = await store.register(worker_info())
    assert (second.epoch, second.runs) == (first + 1, (key.run_id,))
    with pytest.raises(Superseded):
        await store.heartbeat("w1", first)
    with pytest.raises(Superseded):
        await store.lost_worker("w1", first, "late")
    assert (await store.heartbeat("w1", second.epoch)).runs == (key.run_id,)


async def test_a_drain_outlives_a_restart(store: RedisStore) -> None:
    await ready(store)
    assert (await store.move_worker("w1", WorkerEvent.DRAIN)).state is WorkerState.DRAINING
    epoch = await ready(store)
    assert (await store.worker("w1")).state is WorkerState.DRAINING
    await store.lost_worker("w1", epoch, "gone")
    assert (await store.worker("w1")).note == "gone"
    await ready(store)
    assert (await store.worker("w1")).state is WorkerState.DRAINING
    assert (await store.move_worker("w1", WorkerEvent.RESUME)).state is WorkerState.READY


class TestReaping:
    @pytest.fixture
    def leases(self) -> LeaseSettings:
        return LeaseSettings(worker_s=0.05, heartbeat_s=0.02, leader_s=0.05)

    async def test_a_silent_workers_runs_go_elsewhere(self, store: RedisStore) -> None:
        epoch = await ready(store)
        it, key = await assigned(store)
        done: list[str] = []
        async with asyncio.timeout(5):
            while not done:
                done = list(await store.reap())
        assert key.run_id in done[0]
        worker = await store.worker("w1")
        assert (worker.state, worker.runs) == (WorkerState.DOWN, ())
        with pytest.raises(Superseded):
            await store.heartbeat("w1", epoch)
        with pytest.raises(Superseded):
            await store.start(key)
        assert [run.state for run in (await store.job(it.spec.id)).runs] == [RunState.LOST, RunState.QUEUED]

    async def test_a_job_past_its_deadline_expires(self, store: RedisStore) -> None:
        waiting = submission(deadline_at=1000.05)
        await store.submit(waiting)
        done: list[str] = []
        async with asyncio.timeout(5):
            while not done:
                done = list(await store.reap())
        job = await store.job(waiting.spec.id)
        assert job.status is JobStatus.EXPIRED
        assert job.error is not None
        assert job.error.code == "deadline_passed"
        assert (await store.counts()).queued == {}

    async def test_one_controller_leads(self, store: RedisStore) -> None:
        assert await store.lead("c1")
        assert not await store.lead("c2")
        await store.resign("c2")
        assert not await store.lead("c2")
        await store.resign("c1")
        assert await store.lead("c2")
        async with asyncio.timeout(5):
            while not await store.lead("c1"):
                await asyncio.sleep(0.01)  # until the lease of c2 runs out
