"""The store's promises, verb by verb, on a real Redis."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from hashlib import sha1

import pytest
from redis.exceptions import DataError

from orchestrator.domain.asset import Asset, MediaType, Output, asset_id
from orchestrator.domain.event import Event, EventType
from orchestrator.domain.ids import uuid7
from orchestrator.domain.job import JobError, JobSpec, JobStatus, Priority, Progress
from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.domain.run import QueueEntry, RunState
from orchestrator.domain.worker import Residency, WorkerEvent, WorkerInfo, WorkerState
from orchestrator.domain.workflow import Workflow
from orchestrator.errors import Busy, Conflict, IllegalTransition, InvalidRequest, NotFound, Retryable, Superseded
from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.store.port import (
    Assignment,
    Counts,
    FeedItem,
    FeedKind,
    Idempotency,
    JobQuery,
    Mail,
    MailKind,
    Result,
    RunEnd,
    RunKey,
    Submission,
)
from orchestrator.store.redis import RedisStore

NEEDS = Needs(("KSampler", "SaveImage"), (ModelRef("checkpoints", "sd15/a.safetensors"),))
ERROR = JobError("worker_lost", "the worker went away")
_bits = iter(range(1, 1_000_000))


def new_id() -> str:
    return uuid7(1_700_000_000_000, next(_bits) << 40)


def submission(**changes: object) -> Submission:
    spec = JobSpec(
        id=new_id(), pool="default", priority=Priority.NORMAL, timeout_s=60, retries=1, created_at=1000.0,
        params={"prompt": "a cat"}, metadata={"team": "red"},
    )  # fmt: skip
    spec = dataclasses.replace(spec, **{k: v for k, v in changes.items() if hasattr(spec, k)})
    entry = QueueEntry(new_id(), spec.id, 1, spec.pool, spec.priority, spec.created_at, "p@1", NEEDS)
    rest = {k: v for k, v in changes.items() if not hasattr(spec, k)}
    return Submission(spec=spec, graph={"1": {"class_type": "SaveImage", "inputs": {}}}, entry=entry, **rest)


def worker_info(worker_id: str = "w1") -> WorkerInfo:
    return WorkerInfo(id=worker_id, url=f"http://{worker_id}", pool="default", agent="a1", catalog="c" * 8)


def output(run_id: str, name: str = "x.png") -> Output:
    return Output("9", name, MediaType.IMAGE, "image/png", 12, "blake3:ab", f"runs/j/{run_id}/0-{name}", 4, 4)


def result(run_id: str) -> Result:
    residency = Residency(vram=NEEDS.models, sizes={NEEDS.models[0]: 2_130_000_000})
    return Result((output(run_id),), execute_s=1.5, load_s=0.25, cost=0.002, residency=residency)


async def ready(store: RedisStore, worker_id: str = "w1") -> int:
    duties = await store.register(worker_info(worker_id))
    await store.inspected(worker_info(worker_id), duties.epoch, b"{}", {"checkpoints/sd15/a.safetensors": 7})
    return duties.epoch


async def assigned(store: RedisStore, worker_id: str = "w1", **changes: object) -> tuple[Submission, RunKey]:
    it = submission(**changes)
    await store.submit(it)
    assert await store.assign([Assignment(it.entry.run_id, 1, worker_id, {"load_s": 0.5})]) == [True]
    return it, RunKey(it.entry.run_id, 1, worker_id)


async def feed(store: RedisStore, after: int) -> Sequence[FeedItem]:
    """Everything after a sequence number, up to now."""
    last = (await store.snapshot()).seq
    items: list[FeedItem] = []
    async for batch in store.feed(after):
        items += batch
        if items[-1].seq >= last:
            return items
    raise AssertionError("a feed ends only with its reader")


async def test_a_submission_is_read_back_whole(store: RedisStore) -> None:
    it = submission(deadline_at=1060.0)
    assert (await store.submit(it)).created
    job = await store.job(it.spec.id)
    assert job.status is JobStatus.QUEUED
    assert job.spec.created_at > 1_700_000_000  # the store's clock, not the submitter's
    assert job.spec.deadline_at == pytest.approx(job.spec.created_at + 60)
    assert dataclasses.replace(job.spec, created_at=1000.0, deadline_at=1060.0) == it.spec
    assert (await store.order(it.entry.run_id)).graph == it.graph
    assert [(run.id, run.attempt, run.state) for run in job.runs] == [(it.entry.run_id, 1, RunState.QUEUED)]
    assert [event.data for event in await store.events(it.spec.id)] == [{"status": "queued"}]
    counts = await store.counts()
    assert counts.jobs[JobStatus.QUEUED] == 1
    assert counts.queued == {("default", Priority.NORMAL): 1}
    assert counts.oldest_queued_at == pytest.approx(job.spec.created_at)


async def test_many_at_once_share_round_trips_and_all_arrive(store: RedisStore) -> None:
    them = [submission() for _ in range(500)]
    assert all(made.created for made in await asyncio.gather(*(store.submit(it) for it in them)))
    snapshot = await store.snapshot()
    assert {entry.run_id for entry in snapshot.queued} == {it.entry.run_id for it in them}
    assert {entry.needs for entry in snapshot.queued} == {NEEDS}


async def test_one_idempotency_key_makes_one_job(store: RedisStore) -> None:
    them = [submission(idempotency=Idempotency("k", "print")) for _ in range(50)]
    made = await asyncio.gather(*(store.submit(it) for it in them))
    assert len({one.job_id for one in made}) == 1
    assert [one.created for one in made].count(True) == 1
    assert await store.submitted(Idempotency("k", "print")) == made[0].job_id
    assert await store.submitted(Idempotency("other", "print")) is None
    with pytest.raises(InvalidRequest, match="another body"):
        await store.submit(submission(idempotency=Idempotency("k", "other")))
    with pytest.raises(InvalidRequest, match="another body"):
        await store.submitted(Idempotency("k", "other"))
    assert (await store.counts()).jobs[JobStatus.QUEUED] == 1


async def test_a_full_queue_says_when_to_come_back(redis_url: str, namespace: str) -> None:
    store = await RedisStore.connect(
        redis_url, namespace, LeaseSettings(), RetentionSettings(), LimitSettings(max_queued=2)
    )
    await store.submit(submission())
    await store.submit(submission())
    with pytest.raises(Busy) as caught:
        await store.submit(submission(idempotency=Idempotency("k", "print")))
    assert (caught.value.code, caught.value.retry_after > 0) == ("queue_full", True)
    assert await store.submitted(Idempotency("k", "print")) is None  # the key is free again
    await store.close()


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
    assert (run.state, run.worker, run.load_s, run.cost) == (RunState.SUCCEEDED, "w1", 0.25, 0.002)
    times = run.timings
    assert times.started_at and times.staged_at and times.executed_at
    assert times.started_at - times.staged_at == pytest.approx(0.5, abs=0.01)
    assert times.executed_at - times.started_at == pytest.approx(1.5, abs=0.01)
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
    snapshot = await store.snapshot()
    retried = next(entry for entry in snapshot.queued if entry.run_id == second)
    other = next(entry for entry in snapshot.queued if entry.run_id != second)
    assert (retried.attempt, retried.avoid) == (2, ("w1",))
    assert retried.arrived_at <= other.arrived_at
    assert await store.queue_position(it.spec.id) == 0
    assert await store.queue_position(later.spec.id) == 1
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
    (again,) = [entry for entry in (await store.snapshot()).queued if entry.job_id == it.spec.id]
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


async def test_ended_jobs_are_forgotten_without_a_trace(store: RedisStore) -> None:
    kept = submission()
    await store.submit(kept)
    of_this_fleet = f"{store._keys.prefix}*"  # others in this Redis come and go
    keys_of_one = set(await store._db._redis.keys(of_this_fleet))
    it = submission(workflow="w", version=1)
    await store.submit(it)
    await store.cancel(it.spec.id)
    assert await store.lapsed_jobs(3600) == []
    assert await store.lapsed_jobs(-1) == [it.spec.id]
    await store.forget(kept.spec.id)  # has not ended: kept
    await store.forget(it.spec.id)
    assert set(await store._db._redis.keys(of_this_fleet)) == keys_of_one
    with pytest.raises(NotFound):
        await store.job(it.spec.id)
    assert (await store.job(kept.spec.id)).status is JobStatus.QUEUED


async def test_listing_filters_and_goes_on_where_it_stopped(store: RedisStore) -> None:
    them = [submission(workflow=f"w{i % 2}", version=1, metadata={"n": str(i % 3)}) for i in range(30)]
    await asyncio.gather(*(store.submit(it) for it in them))  # many of them in the same millisecond
    await store.cancel(them[0].spec.id)

    async def listed(**filters: object) -> list[str]:
        ids: list[str] = []
        cursor = None
        while True:
            page = await store.jobs(JobQuery(limit=4, cursor=cursor, **filters))
            assert len(page.jobs) <= 4
            ids += [job.spec.id for job in page.jobs]
            if (cursor := page.cursor) is None:
                return ids

    everything = await listed()
    assert sorted(everything) == sorted(it.spec.id for it in them)
    times = [(await store.job(job_id)).spec.created_at for job_id in everything]
    assert times == sorted(times, reverse=True)
    assert sorted(await listed(workflow="w1")) == sorted(it.spec.id for it in them if it.spec.workflow == "w1")
    assert await listed(status=JobStatus.CANCELED) == [them[0].spec.id]
    some = await listed(labels={"n": "2"}, workflow="w0")
    assert sorted(some) == sorted(it.spec.id for i, it in enumerate(them) if i % 3 == 2 and i % 2 == 0)
    with pytest.raises(InvalidRequest, match="cursor"):
        await store.jobs(JobQuery(cursor="nonsense"))


async def test_a_watch_sees_what_is_told_and_previews_are_never_replayed(store: RedisStore) -> None:
    await ready(store)
    it, key = await assigned(store)
    watch = await store.watch()
    await watch.add(it.spec.id)
    seen: list[Event] = []

    async def collect() -> None:
        async for job_id, event in watch:
            assert job_id == it.spec.id
            seen.append(event)
            if event.data.get("status") == "succeeded":
                return

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(collect())
        await store.start(key)
        await store.preview(it.spec.id, Event(EventType.PREVIEW, {"data_base64": "AA=="}))
        await store.commit(key, result(key.run_id))
    assert [event.type for event in seen] == [EventType.STATUS, EventType.PREVIEW, EventType.OUTPUT, EventType.STATUS]
    assert seen[1].id is None
    kept = await store.events(it.spec.id)
    assert [event.id for event in kept[1:]] == [event.id for event in seen if event.id]
    assert await store.events(it.spec.id, after=kept[1].id) == kept[2:]
    await watch.close()


async def test_mail_reaches_the_agent_of_the_worker(store: RedisStore) -> None:
    await ready(store)
    got: list[Mail] = []

    async def read() -> None:
        async for mail in store.mail("a1"):
            got.append(mail)
            if mail.kind is MailKind.CANCEL:
                return

    reader = asyncio.create_task(read())
    it, key = await assigned(store)
    await store.post(Mail(MailKind.FREE, "w1"))
    await store.cancel(it.spec.id)
    async with asyncio.timeout(5):
        await reader
    # What was sent before the reader was there, a heartbeat tells.
    assert got[-2:] == [Mail(MailKind.FREE, "w1"), Mail(MailKind.CANCEL, "w1", key.run_id)]


async def test_a_command_that_cannot_be_sent_harms_no_other(store: RedisStore) -> None:
    async with asyncio.timeout(5):
        bad, none, good = await asyncio.gather(
            store._db.fetch(("GET", "\udcff")), store._db.fetch(("GET", None)), store.counts(), return_exceptions=True
        )
    assert isinstance(bad, UnicodeEncodeError)
    assert isinstance(none, DataError)
    assert isinstance(good, Counts)


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


async def test_a_trimmed_feed_is_a_gap_and_not_a_silence(store: RedisStore) -> None:
    await store.submit(submission())
    first = (await store.snapshot()).seq
    for _ in range(3):
        await store.submit(submission())
    await store._db._redis.xtrim(store._db.keys.single("feed"), maxlen=1, approximate=False)
    with pytest.raises(Retryable, match="snapshot"):
        await feed(store, first)


async def test_a_snapshot_knows_what_runs_and_what_was_learned(store: RedisStore) -> None:
    await ready(store)
    _, key = await assigned(store)
    await store.save_learned(b"blob")
    snapshot = await store.snapshot()
    assert (list(snapshot.queued), snapshot.learned) == ([], b"blob")
    assert [(worker, entry.run_id) for worker, entry in snapshot.running] == [("w1", key.run_id)]
    assert [worker.info.id for worker in snapshot.workers] == ["w1"]
    assert await store.model_sizes("c" * 8) == {"checkpoints/sd15/a.safetensors": 7}
    assert await store.object_info("c" * 8) == b"{}"


def workflow(digest: str, name: str = "w") -> Workflow:
    return Workflow(name=name, version=0, digest=digest, graph={"1": {}}, params={"type": "object"}, bind={})


async def test_equal_content_is_the_same_version(store: RedisStore) -> None:
    assert (await store.register_workflow(workflow("a"))).version == 1
    assert (await store.register_workflow(workflow("b"))).version == 2
    assert (await store.register_workflow(workflow("a"))).version == 1
    assert await store.workflows() == {"w": 2}
    await store.activate("w", 1)
    assert (await store.workflow("w")).digest == "a"
    assert [one.version for one in await store.versions("w")] == [1, 2]
    for missing in (store.workflow("x"), store.workflow("w", 9), store.activate("w", 9), store.versions("x")):
        with pytest.raises(NotFound):
            await missing


async def test_a_job_gets_the_version_that_is_active_when_it_comes(store: RedisStore) -> None:
    await store.register_workflow(workflow("a"))
    await store.register_workflow(workflow("b"))
    with pytest.raises(Conflict, match="not the active one"):
        await store.submit(submission(workflow="w", version=1, if_active=True))
    await store.submit(submission(workflow="w", version=1))  # asked for by number
    await store.submit(submission(workflow="w", version=2, if_active=True))
    assert (await store.counts()).jobs[JobStatus.QUEUED] == 2


async def test_unused_assets_lapse_in_two_steps(store: RedisStore) -> None:
    asset = Asset(asset_id("ab" * 32), "blake3:" + "ab" * 32, 3, "image/png", "cat.png", 1.0)
    assert await store.put_asset(asset) == asset
    assert await store.put_asset(dataclasses.replace(asset, name="dog.png")) == asset
    assert await store.lapsed_assets(3600) == []
    assert await store.lapsed_assets(-1) == [asset]
    assert await store.lapsed_assets(-1) == [asset]  # a sweep that was cut off is taken up again
    with pytest.raises(NotFound):
        await store.asset(asset.id)
    with pytest.raises(Busy):
        await store.put_asset(asset)
    await store.swept_asset(asset.id)
    assert await store.lapsed_assets(-1) == []
    assert await store.put_asset(asset) == asset
    assert await store.asset(asset.id) == asset


async def test_scripts_come_back_after_redis_forgot_them(store: RedisStore) -> None:
    await store._db._redis.script_flush()
    assert (await store.submit(submission())).created
    await store.ping()


async def test_no_redis_is_said_in_words() -> None:
    with pytest.raises(Busy, match="is it running"):
        await RedisStore.connect("redis://127.0.0.1:1/0", "t", LeaseSettings(), RetentionSettings(), LimitSettings())
