"""Outputs that are seen while their job runs: fenced as everything else, and gone or committed at its end."""

from __future__ import annotations

import pytest

from orchestrator.domain.event import EventType
from orchestrator.domain.job import JobStatus
from orchestrator.errors import Superseded
from orchestrator.store.port import Assignment, Result, RunKey
from orchestrator.store.redis import RedisStore
from tests.fixtures.stored import ERROR, assigned, output, ready, result


async def told(store: RedisStore, job_id: str) -> list[tuple[int, str]]:
    events = await store.events(job_id)
    return [(event.data["index"], event.data["name"]) for event in events if event.type is EventType.OUTPUT]


async def test_what_a_run_makes_is_seen_before_its_end_and_told_once(store: RedisStore) -> None:
    await ready(store)
    it, key = await assigned(store)
    early, late = output(key.run_id, "early.png"), output(key.run_id, "late.png")
    await store.start(key)
    await store.show(key, (early,), ())
    job = await store.job(it.spec.id)
    assert (job.status, job.outputs) == (JobStatus.RUNNING, (early,))
    assert (await store.order(key.run_id)).shown == (early,)
    made = result(key.run_id)
    await store.commit(key, Result((early, late), made.execute_s, 0.0, made.residency, shown=(early,)))
    assert (await store.job(it.spec.id)).outputs == (early, late)
    assert await told(store, it.spec.id) == [(0, "early.png"), (1, "late.png")]


async def test_only_who_holds_the_run_shows_anything(store: RedisStore) -> None:
    await ready(store)
    it, key = await assigned(store)
    early = output(key.run_id, "early.png")
    with pytest.raises(Superseded):
        await store.show(key, (early,), ())  # it does not execute yet
    await store.start(key)
    await store.show(key, (early,), ())
    second = await store.retry(key, "the worker went away", error=ERROR)
    assert second is not None
    with pytest.raises(Superseded):
        await store.show(key, (early, output(key.run_id, "more.png")), (early,))
    assert (await store.job(it.spec.id)).outputs == (early,)
    assert await store.assign([Assignment(second, 2, "w1", {})]) == [True]
    assert (await store.order(second)).shown == (early,)
    await store.fail(RunKey(second, 2, "w1"), ERROR)
    job = await store.job(it.spec.id)
    assert (job.status, job.outputs) == (JobStatus.FAILED, ())


async def test_a_job_that_is_being_stopped_shows_no_more(store: RedisStore) -> None:
    await ready(store)
    it, key = await assigned(store)
    await store.start(key)
    await store.cancel(it.spec.id)
    await store.show(key, (output(key.run_id),), ())
    assert (await store.job(it.spec.id)).outputs == ()
    assert await told(store, it.spec.id) == []
