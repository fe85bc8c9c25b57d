"""Questions to whoever dispatches, and its answers, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from orchestrator.domain.outlook import Awaited, Outlook
from orchestrator.store.port import Question
from orchestrator.store.redis import RedisStore

STANDS = Outlook("acme", 1.0, 0.5, 10.0, 5.0, 30.0, False, 9, 3, 4, Awaited("w", 2.0, untried=True))


@asynccontextmanager
async def leading(store: RedisStore) -> AsyncIterator[None]:
    """Somebody leads, and answers what it knows: of "known"."""

    async def answer() -> None:
        async for question in store.questions():
            await store.answer(question, STANDS if question.run_id == "known" else None)

    assert await store.lead("controller")
    task = asyncio.create_task(answer())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_whoever_leads_answers(store: RedisStore) -> None:
    async with leading(store):
        while await store.outlook("known", 0.2) is None:
            continue  # until it listens
        assert await store.outlook("known", 10.0) == STANDS
        assert await store.outlook("unknown", 10.0) is None
        both = await asyncio.gather(store.outlook("known", 10.0), store.outlook("unknown", 10.0))
        assert both == [STANDS, None], "each gets its own answer"


async def test_nobody_is_waited_for_that_does_not_answer(store: RedisStore) -> None:
    assert await store.outlook("known", 3600.0) is None, "nobody leads"
    assert await store.lead("controller")
    assert await store.outlook("known", 0.05) is None


async def test_an_answer_that_nobody_takes_goes_by_itself(store: RedisStore, redis_url: str) -> None:
    question = Question("1-1", "known")
    await store.answer(question, STANDS)
    async with Redis.from_url(redis_url) as redis:
        assert 0 < await redis.pttl(store._db.keys.answer(question.id)) <= 10_000  # pyright: ignore[reportPrivateUsage]
