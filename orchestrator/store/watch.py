"""Live events of the topics that somebody watches, over one subscription. Survives a restart of Redis without a gap:
after reconnecting, what was missed is read from each topic's stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from redis.exceptions import RedisError

from orchestrator.domain.event import Event
from orchestrator.errors import Busy
from orchestrator.store import codec
from orchestrator.store.database import BLOCK_MS, RECONNECT_S, Database


class RedisWatch:
    """Implements Watch. `add` and `remove` may be called while another task iterates."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._redis = database.client()
        self._channels = self._redis.pubsub(ignore_subscribe_messages=True)
        self._last: dict[str, str | None] = {}  # topic -> id of the last event delivered
        self._wanted = asyncio.Event()
        self._closed = False

    async def add(self, topic: str) -> None:
        self._last.setdefault(topic, None)
        try:
            await self._channels.subscribe(self._db.keys.watch(topic))
        except (RedisError, OSError):
            return  # the reader notices the same failure, and subscribes to everything again
        finally:
            self._wanted.set()

    async def remove(self, topic: str) -> None:
        if topic not in self._last:
            return
        del self._last[topic]
        try:
            await self._channels.unsubscribe(self._db.keys.watch(topic))
        except (RedisError, OSError):
            return  # a dropped connection is subscribed to nothing

    async def close(self) -> None:
        self._closed = True
        self._wanted.set()
        await self._channels.aclose()
        await self._redis.aclose()

    async def __aiter__(self) -> AsyncIterator[tuple[str, Event]]:
        while not self._closed:
            await self._wanted.wait()
            try:
                message = await self._channels.get_message(timeout=BLOCK_MS / 1000)
            except (RedisError, OSError):
                if self._closed:
                    return
                async for missed in self._resubscribe():
                    yield missed
                continue
            if message is not None:
                yield self._deliver(message)

    def _deliver(self, message: dict[str, bytes]) -> tuple[str, Event]:
        topic = message["channel"].decode().removeprefix(self._db.keys.watch(""))
        event_id, kind, data = message["data"].split(b" ", 2)
        event = codec.event(event_id, kind, data)
        if event.id is not None and topic in self._last:
            self._last[topic] = event.id
        return topic, event

    async def _resubscribe(self) -> AsyncIterator[tuple[str, Event]]:
        await asyncio.sleep(RECONNECT_S)
        topics = dict(self._last)
        try:
            if topics:
                await self._channels.subscribe(*(self._db.keys.watch(topic) for topic in topics))
            replies = await self._db.fetch(
                *(
                    ("XRANGE", self._db.keys.events(topic), f"({after}" if after else "-", "+")
                    for topic, after in topics.items()
                )
            )
        except (RedisError, OSError, Busy):
            return
        for topic, entries in zip(topics, replies, strict=True):
            for event_id, fields in entries:
                event = codec.stream_event(event_id, fields)
                if topic in self._last:
                    self._last[topic] = event.id
                yield topic, event
