"""The connection to Redis: what goes wrong with it, and what does not."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import DataError

from orchestrator.errors import Busy
from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.store import database
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


async def test_a_redis_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "TIMEOUT_S", 0.1)
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(5), server:
        with pytest.raises(Busy, match="no answer within"):
            await RedisStore.connect(
                f"redis://127.0.0.1:{port}/0", "t", LeaseSettings(), RetentionSettings(), LimitSettings()
            )


async def test_who_follows_a_stream_can_be_cancelled_at_any_moment(store: RedisStore) -> None:
    async def follow() -> None:
        async for _ in store.feed(0):
            pass

    for turns in range(60):  # of the loop, in which it connects, asks, and waits for Redis
        follower = asyncio.create_task(follow())
        for _ in range(turns):
            await asyncio.sleep(0)
        follower.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait((follower,))
        assert follower.cancelled()
