"""Jobs in the store, and what is told of them, on a real Redis."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from orchestrator.domain.event import Event, EventType
from orchestrator.domain.job import JobStatus, Priority
from orchestrator.domain.needs import Content, ModelRef
from orchestrator.domain.run import RunState
from orchestrator.errors import Busy, InvalidRequest, NotFound, Retryable
from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.store import dispatch
from orchestrator.store.port import (
    Idempotency,
    JobQuery,
    Mail,
    MailKind,
)
from orchestrator.store.redis import RedisStore
from tests.fixtures.stored import NEEDS, assigned, feed, ready, result, submission, waiting


async def test_a_submission_is_read_back_whole(store: RedisStore) -> None:
    it = submission(deadline_at=1060.0, tenant="acme")
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
    assert counts.oldest_queued_at == pytest.approx({("default", Priority.NORMAL): job.spec.created_at})


async def test_each_priority_of_a_pool_has_an_oldest_and_a_place_by_arrival_as_priority_shifts_it(
    store: RedisStore,
) -> None:
    arrived: list[float] = []
    ids: list[str] = []
    for priority in (Priority.LOW, Priority.NORMAL, Priority.LOW, Priority.HIGH):
        it = submission(priority=priority)
        await store.submit(dataclasses.replace(it, entry=dataclasses.replace(it.entry, priority=priority.value)))
        arrived.append((await store.job(it.spec.id)).spec.created_at)
        ids.append(it.spec.id)
        await asyncio.sleep(0.002)
    assert (await store.counts()).oldest_queued_at == pytest.approx(
        {
            ("default", Priority.LOW): arrived[0],
            ("default", Priority.NORMAL): arrived[1],
            ("default", Priority.HIGH): arrived[3],
        }
    )
    assert [(await store.job(job_id)).queue_position for job_id in ids] == [2, 1, 3, 0]
    assert len(await waiting(store)) == 4


async def test_many_at_once_share_round_trips_and_all_arrive(store: RedisStore) -> None:
    them = [submission() for _ in range(500)]
    assert all(made.created for made in await asyncio.gather(*(store.submit(it) for it in them)))
    queued = await waiting(store)
    assert {entry.run_id for entry in queued} == {it.entry.run_id for it in them}
    assert {entry.needs for entry in queued} == {NEEDS}


async def test_a_snapshot_has_what_waits_whatever_leaves_the_queue_while_it_is_read(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pages smaller than the number of those that came in the same millisecond."""
    monkeypatch.setattr(dispatch, "CHUNK", 3)
    them = [submission() for _ in range(40)]
    await asyncio.gather(*(store.submit(it) for it in them))
    pages = aiter((await store.snapshot()).queued)
    found = list(await anext(pages))
    gone = {it.spec.id for it in them if it.entry.run_id in {entry.run_id for entry in found}}
    for job_id in gone:
        await store.cancel(job_id)
    found += [entry async for page in pages for entry in page]
    assert sorted(entry.run_id for entry in found) == sorted(it.entry.run_id for it in them)


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
    counted = {store._keys.single("count:ended").encode()}  # of all that ever ended
    assert set(await store._db._redis.keys(of_this_fleet)) - counted == keys_of_one
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
    prefetch = Mail(MailKind.PREFETCH, "w1", files=(ModelRef("loras", "a/b.safetensors"), ModelRef("vae", "c")))
    await store.post(prefetch)
    await store.post(Mail(MailKind.FREE, "w1"))
    await store.cancel(it.spec.id)
    async with asyncio.timeout(5):
        await reader
    # What was sent before the reader was there, a heartbeat tells.
    assert got[-3:] == [prefetch, Mail(MailKind.FREE, "w1"), Mail(MailKind.CANCEL, "w1", key.run_id)]


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
    assert (await waiting(store), snapshot.learned) == ([], b"blob")
    assert [(worker, entry.run_id) for worker, entry in snapshot.running] == [("w1", key.run_id)]
    assert [worker.info.id for worker in snapshot.workers] == ["w1"]
    (digest,) = (worker.models for worker in snapshot.workers)
    assert digest is not None
    assert await store.models(digest) == {NEEDS.models[0]: Content(7)}
    assert await store.object_info("c" * 8) == b"{}"
