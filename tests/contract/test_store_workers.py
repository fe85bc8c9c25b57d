"""What operators and agents say of a worker, and what its story tells, on a real Redis."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.domain.needs import Content, ModelRef
from orchestrator.domain.warmup import Warmed, WarmEnd, Warmup
from orchestrator.domain.worker import Residency, WorkerEvent, WorkerInfo, WorkerState
from orchestrator.errors import Conflict, NotFound, Superseded
from orchestrator.store.port import Assignment, FeedKind, Mail, MailKind
from orchestrator.store.redis import RedisStore
from tests.fixtures.driving import eventually
from tests.fixtures.stored import feed, submission

INFO = WorkerInfo(id="w", url="http://w", pool="default", agent="a", catalog="c" * 8)


async def ready(store: RedisStore) -> int:
    duties = await store.register(INFO)
    await store.inspected(INFO, duties.epoch, b"{}", {})
    return duties.epoch


async def state(store: RedisStore) -> WorkerState:
    return (await store.worker("w")).state


async def test_an_operators_recycle_is_told_to_the_agent_and_ends_with_its_next_registration(store: RedisStore) -> None:
    epoch = await ready(store)
    assert (await store.heartbeat("w", epoch)).state is WorkerState.READY
    recycling = await store.move_worker("w", WorkerEvent.RECYCLE)
    assert (recycling.state, recycling.note) == (WorkerState.RECYCLING, "recycled by an operator")
    assert (await store.heartbeat("w", epoch)).state is WorkerState.RECYCLING
    assert (await store.register(INFO)).state is WorkerState.STARTING


async def test_a_drained_worker_stays_drained_through_a_recycle(store: RedisStore) -> None:
    await ready(store)
    await store.move_worker("w", WorkerEvent.DRAIN)
    await store.move_worker("w", WorkerEvent.RECYCLE)
    await ready(store)
    assert await state(store) is WorkerState.DRAINING


@pytest.mark.parametrize("verb", [WorkerEvent.RESUME, WorkerEvent.RECYCLE])
async def test_a_quarantined_worker_waits_for_an_operator(store: RedisStore, verb: WorkerEvent) -> None:
    epoch = (await store.register(INFO)).epoch
    await store.report_worker("w", epoch, WorkerEvent.QUARANTINE, "died 5 times")
    assert (await store.worker("w")).note == "died 5 times"
    assert (await store.heartbeat("w", epoch)).state is WorkerState.QUARANTINED
    assert (await store.move_worker("w", verb)).state is WorkerState.STARTING
    assert (await store.heartbeat("w", epoch)).state is WorkerState.STARTING


async def test_what_starts_or_is_not_looked_after_cannot_be_recycled(store: RedisStore) -> None:
    epoch = (await store.register(INFO)).epoch
    with pytest.raises(Conflict, match="worker w is starting"):
        await store.move_worker("w", WorkerEvent.RECYCLE)
    await store.lost_worker("w", epoch, "gone")
    with pytest.raises(Conflict, match="worker w is down"):
        await store.move_worker("w", WorkerEvent.RECYCLE)
    with pytest.raises(NotFound):
        await store.move_worker("nobody", WorkerEvent.RECYCLE)


async def test_an_agents_resume_does_not_undo_an_operators_drain(store: RedisStore) -> None:
    epoch = await ready(store)
    await store.report_worker("w", epoch, WorkerEvent.DRAIN, "its disk is full")
    await store.report_worker("w", epoch, WorkerEvent.RESUME, "")
    assert await state(store) is WorkerState.READY
    await store.report_worker("w", epoch, WorkerEvent.DRAIN, "its disk is full")
    await store.move_worker("w", WorkerEvent.DRAIN)
    await store.report_worker("w", epoch, WorkerEvent.RESUME, "")
    worker = await store.worker("w")
    assert (worker.state, worker.note) == (WorkerState.DRAINING, "drained by an operator")


async def test_only_the_agent_that_has_the_worker_is_heard(store: RedisStore) -> None:
    first = await ready(store)
    second = await ready(store)
    with pytest.raises(Superseded):
        await store.report_worker("w", first, WorkerEvent.RECYCLE, "late")
    await store.lost_worker("w", second, "gone")
    with pytest.raises(Superseded):
        await store.report_worker("w", second, None, "late")
    assert (await store.worker("w")).note == "gone"


async def test_what_a_worker_holds_is_told_to_the_dispatcher_too(store: RedisStore) -> None:
    epoch = await ready(store)
    seq = (await store.snapshot()).seq
    model = ModelRef("checkpoints", "a.safetensors")
    held = Residency((model,), (), "measured", sizes={model: 7}, held={model: 5}, why="cache: gone")
    await store.report_residency("w", epoch, held)
    assert (await store.worker("w")).residency == held
    [item] = await feed(store, seq)
    assert (item.kind, item.worker, item.residency) == (FeedKind.RESIDENCY, "w", held)
    await store.lost_worker("w", epoch, "gone")
    for stale in (epoch, epoch - 1):
        with pytest.raises(Superseded):
            await store.report_residency("w", stale, Residency())
    assert (await store.worker("w")).residency == held


WARMUP = Warmup("b9a2c4de-0000-4000-8000-000000000001", "flow", {"1": {"class_type": "A", "inputs": {}}}, ("1",), 60.0)


async def test_a_warm_up_from_its_order_to_its_end(store: RedisStore) -> None:
    epoch = await ready(store)
    mail = store.mail("a")
    coming = asyncio.ensure_future(anext(mail))
    await asyncio.sleep(0.05)  # the mailbox is read from when its reader is there
    assert await store.warm("w", epoch, WARMUP, 60.0)
    assert await coming == Mail(MailKind.WARM, "w", WARMUP.id)
    assert await store.warmup("w", WARMUP.id) == WARMUP
    assert await store.warmup("w", "another") is None
    assert not await store.warm("w", epoch, WARMUP, 60.0)  # one at a time
    seq = (await store.snapshot()).seq
    warmed, held = Warmed("flow", WarmEnd.DONE), Residency((ModelRef("vae", "x"),))
    await store.warmed("w", epoch, WARMUP.id, warmed, held)
    [item] = await feed(store, seq)
    assert (item.kind, item.worker, item.warmed, item.residency) == (FeedKind.WARMED, "w", warmed, held)
    assert (await store.worker("w")).residency == held
    assert await store.warmup("w", WARMUP.id) is None
    assert await store.warm("w", epoch, WARMUP, 0.001)
    await mail.aclose()  # pyright: ignore[reportAttributeAccessIssue]

    async def void() -> bool:
        return await store.warmup("w", WARMUP.id) is None

    await eventually(void, "the order to be void")


async def test_a_worker_is_warmed_up_only_if_it_is_as_it_was_seen(store: RedisStore) -> None:
    epoch = await ready(store)
    assert not await store.warm("w", epoch + 1, WARMUP, 60.0)
    assert not await store.warm("nobody", epoch, WARMUP, 60.0)
    await store.move_worker("w", WorkerEvent.DRAIN)
    assert not await store.warm("w", epoch, WARMUP, 60.0)
    await store.move_worker("w", WorkerEvent.RESUME)
    it = submission()
    await store.submit(it)
    assert await store.assign([Assignment(it.entry.run_id, 1, "w", {})]) == [True]
    assert not await store.warm("w", epoch, WARMUP, 60.0)


async def test_an_order_to_warm_up_ends_with_the_registration_that_it_was_for(store: RedisStore) -> None:
    epoch = await ready(store)
    assert await store.warm("w", epoch, WARMUP, 60.0)
    again = await ready(store)
    assert await store.warmup("w", WARMUP.id) is None
    with pytest.raises(Superseded):
        await store.warmed("w", epoch, WARMUP.id, Warmed("flow", WarmEnd.DONE), Residency())
    await store.lost_worker("w", again, "gone")
    with pytest.raises(Superseded):
        await store.warmed("w", again, WARMUP.id, Warmed("flow", WarmEnd.DONE), Residency())


async def test_the_story_of_a_worker(store: RedisStore) -> None:
    epoch = (await store.register(INFO)).epoch
    for _ in range(2):  # said twice, kept once
        await store.report_worker("w", epoch, None, "started as process 7")
    await store.inspected(INFO, epoch, b"{}", {})
    await store.lost_worker("w", epoch, "killed by signal 9")
    changes = await store.worker_changes("w")
    assert [(change.state.value, change.note) for change in reversed(changes)] == [
        ("starting", None),
        ("starting", "started as process 7"),
        ("ready", None),
        ("down", "killed by signal 9"),
    ]
    assert sorted(changes, key=lambda change: -change.at) == list(changes)
    assert await store.worker_changes("nobody") == []


async def test_what_is_not_on_a_workers_disk_and_what_could_not_be_fetched_are_told_apart(store: RedisStore) -> None:
    epoch = await ready(store)
    here, coming, faulty = (ModelRef("vae", name) for name in ("here", "coming", "faulty"))
    told = {
        here: Content(7, "a" * 64),
        coming: Content(8, "b" * 64, remote=True),
        faulty: Content(9, None, remote=True, fault="its source is gone"),
    }
    await store.report_models("w", epoch, told)
    digest = (await store.worker("w")).models
    assert digest is not None
    assert await store.models(digest) == told
