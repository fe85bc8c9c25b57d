"""EventHub on a real store: every event once, in order, however late, slow or interrupted its watcher is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from orchestrator.controller import events as events_module
from orchestrator.controller.events import EventHub, order
from orchestrator.domain.event import Event, EventType
from orchestrator.domain.job import JobStatus
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.store.redis import RedisStore
from tests.integration.api.double import WorkerDouble, submit


@pytest.fixture
async def hub(store: RedisStore) -> AsyncIterator[EventHub]:
    hub = EventHub(store)
    running = asyncio.create_task(hub.run())
    yield hub
    running.cancel()
    await asyncio.wait([running])


async def collect(hub: EventHub, job_id: str, after: str | None = None) -> list[Event]:
    async with aclosing(hub.subscribe(job_id, after)) as events:
        return [event async for event in events]


def told(events: list[Event]) -> list[str]:
    return [event.data["status"] if event.type is EventType.STATUS else event.type.value for event in events]


async def until_progress(events: AsyncIterator[Event]) -> list[Event]:
    seen: list[Event] = []
    async for event in events:
        seen.append(event)
        if event.type is EventType.PROGRESS:
            break
    return seen


async def test_a_watcher_from_the_start_sees_everything(store: RedisStore, hub: EventHub) -> None:
    worker = WorkerDouble(store)
    await worker.join()
    await submit(store, "j")
    watching = asyncio.create_task(collect(hub, "j"))
    key = await worker.start("j")
    await worker.progress(key, 0.5)
    await worker.finish(key)
    assert told(await watching) == ["queued", "running", "progress", "succeeded"]


async def test_a_watcher_who_comes_late_sees_the_same(store: RedisStore, hub: EventHub) -> None:
    worker = WorkerDouble(store)
    await worker.join()
    await submit(store, "j")
    await worker.finish(await worker.start("j"))
    events = await collect(hub, "j")
    assert told(events) == ["queued", "running", "succeeded"]
    assert told(await collect(hub, "j", events[0].id)) == ["running", "succeeded"]
    assert await collect(hub, "j", events[-1].id) == []


async def test_many_watchers_of_many_jobs_each_see_their_own_once(store: RedisStore, hub: EventHub) -> None:
    worker = WorkerDouble(store)
    await worker.join()
    jobs = [f"j{n}" for n in range(20)]
    for job in jobs:
        await submit(store, job)
    async with asyncio.TaskGroup() as group:
        early = [group.create_task(collect(hub, job)) for job in jobs for _ in range(3)]
        for job in jobs:
            key = await worker.start(job)
            for step in range(1, 6):
                await worker.progress(key, step / 10)
            late = [group.create_task(collect(hub, job)) for _ in range(2)]
            await worker.finish(key)
            early += late
    expected = ["queued", "running", *["progress"] * 5, "succeeded"]
    for task in early:
        assert told(task.result()) == expected
        ids = [order(event.id or "") for event in task.result()]
        assert ids == sorted(set(ids))


async def test_a_watcher_who_falls_behind_reads_the_store_again(
    store: RedisStore, hub: EventHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "MAILBOX", 3)
    worker = WorkerDouble(store)
    await worker.join()
    await submit(store, "j")
    key = await worker.start("j")
    async with aclosing(hub.subscribe("j")) as events:
        assert told([await anext(events)]) == ["queued"]  # and then reads nothing for a while
        for step in range(1, 51):
            await worker.progress(key, step / 50)
        await worker.finish(key)
        await asyncio.wait_for(hub.wait("j", 10), 10)  # all of it came through the same subscription
        rest = [event async for event in events]
    assert told(rest) == ["running", *["progress"] * 50, "succeeded"]


async def test_a_hint_that_is_lost_delays_an_event_and_loses_none(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "RECHECK_S", 0.05)
    hub = EventHub(store)  # which nobody runs: no hint ever arrives
    worker = WorkerDouble(store)
    await worker.join()
    await submit(store, "j")
    watching = asyncio.create_task(collect(hub, "j"))
    key = await worker.start("j")
    await worker.progress(key, 0.5)
    await worker.finish(key)
    assert told(await watching) == ["queued", "running", "progress", "succeeded"]


async def test_previews_come_live_and_are_not_kept(store: RedisStore, hub: EventHub) -> None:
    worker = WorkerDouble(store)
    await worker.join()
    await submit(store, "j")
    key = await worker.start("j")
    await worker.progress(key, 0.1)
    async with aclosing(hub.subscribe("j")) as events:
        await until_progress(events)
        preview = asyncio.ensure_future(anext(events))
        while not preview.done():  # the subscription takes effect some time after it was asked for
            await store.preview("j", Event(EventType.PREVIEW, {"node_id": "2", "data_base64": ""}))
            await asyncio.wait([preview], timeout=0.02)
        assert (preview.result().type, preview.result().id) == (EventType.PREVIEW, None)
    await worker.finish(key)
    assert "preview" not in told(await collect(hub, "j"))


async def test_wait_answers_when_it_ends_or_when_time_is_up(store: RedisStore, hub: EventHub) -> None:
    worker = WorkerDouble(store)
    await worker.join()
    await submit(store, "j")
    key = await worker.start("j")
    assert (await hub.wait("j", 0.05)).status is JobStatus.RUNNING
    waiting = asyncio.create_task(hub.wait("j", 30))
    await worker.finish(key)
    assert (await waiting).status is JobStatus.SUCCEEDED
    assert (await hub.wait("j", 30)).status is JobStatus.SUCCEEDED


async def test_a_job_that_outlived_its_events_still_ends(store: RedisStore, hub: EventHub) -> None:
    worker = WorkerDouble(store)
    await worker.join()
    await submit(store, "j")
    await worker.finish(await worker.start("j"))
    await store._db.fetch(("DEL", store._keys.events("j")))
    assert told(await collect(hub, "j")) == ["succeeded"]
    assert (await hub.wait("j", 30)).status is JobStatus.SUCCEEDED


async def test_subscriptions_end_with_the_hub(store: RedisStore) -> None:
    hub = EventHub(store)
    running = asyncio.create_task(hub.run())
    await submit(store, "j")
    watching = asyncio.create_task(collect(hub, "j"))
    async with aclosing(hub.subscribe("j")) as events:
        await anext(events)
        running.cancel()
        assert [event async for event in events] == []
    assert told(await watching) == ["queued"]


async def test_nothing_is_held_for_who_has_left(store: RedisStore, hub: EventHub) -> None:
    await submit(store, "j")
    async with aclosing(hub.subscribe("j")) as events:
        await anext(events)
        assert hub._mailboxes.keys() == {"j"}
    assert not hub._mailboxes


async def test_what_is_not_there_is_refused(store: RedisStore, hub: EventHub) -> None:
    with pytest.raises(NotFound):
        await collect(hub, "nobody")
    with pytest.raises(InvalidRequest) as refused:
        await collect(hub, "j", "yesterday")
    assert refused.value.code == "invalid_event_id"
