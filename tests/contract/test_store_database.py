"""The connection to Redis: what goes wrong with it, and what does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import DataError

from orchestrator.errors import Busy
from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.store.port import Counts
from orchestrator.store.redis import RedisStore
from tests.fixtures.stored import submission


async def test_a_command_that_cannot_be_sent_harms_no_other(store: RedisStore) -> None:
    async with asyncio.timeout(5):
        bad, none, good = await asyncio.gather(
            store._db.fetch(("GET", "\udcff")), store._db.fetch(("GET", None)), store.counts(), return_exceptions=True
        )
    assert isinstance(bad, UnicodeEncodeError)
    assert isinstance(none, DataError)
    assert isinstance(good, Counts)


async def test_scripts_come_back_after_redis_forgot_them(store: RedisStore) -> None:
    await store._db._redis.script_flush()
    assert (await store.submit(submission())).created
    await store.ping()


async def test_no_redis_is_said_in_words() -> None:
    with pytest.raises(Busy, match="is it running"):
        await RedisStore.connect("redis://127.0.0.1:1/0", "t", LeaseSettings(), RetentionSettings(), LimitSettings())


async def test_who_follows_a_stream_can_be_cancelled_at_any_moment(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the library swallows the cancellation, as it may while it sends."""
    execute, swallowed = Redis.execute_command, asyncio.Event()

    async def swallowing(self: Redis, *args: Any, **options: Any) -> Any:
        try:
            return await execute(self, *args, **options)
        except asyncio.CancelledError:
            swallowed.set()
            return []

    monkeypatch.setattr(Redis, "execute_command", swallowing)

    async def follow() -> None:
        async for _ in store.feed(0):
            pass

    follower = asyncio.create_task(follow())
    await asyncio.sleep(0.01)  # it waits for Redis by now
    follower.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait((follower,))
    assert follower.cancelled()
    assert swallowed.is_set()
