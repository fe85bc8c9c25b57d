"""No key without a TTL or an owner that deletes it: after a busy fleet, every key is one that keys.py accounts for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from orchestrator.domain.asset import Asset, asset_id
from orchestrator.domain.job import JobError, JobSpec, Priority
from orchestrator.domain.needs import Needs
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Residency, WorkerInfo
from orchestrator.domain.workflow import Workflow
from orchestrator.store.port import Assignment, Idempotency, Result, RunKey, Submission
from orchestrator.store.redis import RedisStore
from tests.fixtures.stored import waiting

EXPIRING = re.compile(r"job:[^:]+:events|idem:.+|mail:.+|leader|ping|catalog:.+|models:.+|ledger:\d+|profile:.+")
OWNED = re.compile(
    r"job:[^:]+|run:.+|jobs(:status:.+|:workflow:.+)?|ended|count:ended|deadlines"  # forget
    r"|queue:.+|queued(:total)?"  # the queue
    r"|feed(:seq)?|ledger:total|learned|workflows|workflow:[^:]+(:digests)?"  # one per fleet, or immutable
    r"|workers|worker:.+|assets|asset:.+"  # reaper
)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


async def busy(store: RedisStore) -> None:
    """One of everything: submitted, assigned, retried, committed, failed, canceled, uploaded, registered."""
    info = WorkerInfo("w", "http://w", "default", "agent", catalog="digest")
    duties = await store.register(info)
    await store.inspected(info, duties.epoch, b"{}", {})
    await store.lead("c1")
    await store.save_learned(b"x")
    await store.ping()
    await store.register_workflow(Workflow("wf", 0, "d", {"1": {}}, {}, {}))
    await store.put_asset(Asset(asset_id("a" * 64), "blake3:" + "a" * 64, 1, "text/plain", "n", 0.0))
    error = JobError("x", "y")
    for n, end in enumerate(("commit", "fail", "retry", "cancel", "leave", "leave")):
        job, run = f"00000000-0000-7000-8000-{n:012d}", f"00000000-0000-7000-9000-{n:012d}"
        spec = JobSpec(job, "default", Priority.LOW, 60, 1, 0.0, workflow="wf", version=1, deadline_at=1e6)
        entry = QueueEntry(run, job, 1, "default", "low", 0.0, "wf@1", Needs())
        await store.submit(Submission(spec, {}, entry, Idempotency(f"key{n}", "p")))
        if n < 5:
            await store.assign([Assignment(run, 1, "w", {})])
        key = RunKey(run, 1, "w")
        if end == "commit":
            await store.start(key)
            await store.commit(key, Result((), 1.0, 0.0, Residency()))
        elif end == "fail":
            await store.fail(key, error)
        elif end == "retry":
            await store.retry(key, "lost", error=error)
        elif end == "cancel":
            await store.cancel(job)


async def test_every_key_goes_by_itself_or_by_its_owner(store: RedisStore, redis: Redis, namespace: str) -> None:
    await busy(store)
    names = [name async for name in redis.scan_iter(f"{namespace}:*")]
    assert len(names) > 30
    for name in names:
        short = name.removeprefix(f"{namespace}:")
        if EXPIRING.fullmatch(short):
            assert await redis.ttl(name) >= 0, f"{short} should have a TTL"
        else:
            assert OWNED.fullmatch(short), f"{short} is not in the table of store/keys.py: who deletes it?"


async def test_a_fleet_that_forgot_its_jobs_holds_none_of_them(store: RedisStore, redis: Redis, namespace: str) -> None:
    await busy(store)
    for job in await waiting(store):
        await store.cancel(job.job_id)
    for run_id in (await store.worker("w")).runs:
        order = await store.order(run_id)
        await store.cancel(order.spec.id)
        await store.stopped(RunKey(run_id, order.run.attempt, "w"))
    for job_id in await store.lapsed_jobs(-1):
        await store.forget(job_id)
    left = {name.removeprefix(f"{namespace}:") async for name in redis.scan_iter(f"{namespace}:*")}
    assert not {name for name in left if name.startswith(("job:", "run:", "jobs", "queue:", "ended", "deadlines"))}
