"""The connection to Redis: every command of the store goes through `script` or `fetch`, many callers in one round trip.

Calls that arrive while a pipeline is under way wait and leave together in the next one. With `appendfsync always` one
disk flush then serves them all, which is what makes durable submissions cheap. Failures of Redis become Busy here, and
nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from hashlib import sha1
from importlib import resources
from typing import Any

from prometheus_client import Histogram
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from orchestrator.domain.ids import uuid7
from orchestrator.errors import Busy, IllegalTransition
from orchestrator.store import codec
from orchestrator.store.keys import Keys

log = logging.getLogger(__name__)

PIPELINE_MAX = 256  # commands in one round trip: bounds how long a single one can wait behind others
BLOCK_MS = 2000  # of blocking reads; a closed store stops within this
RECONNECT_S = 0.5
STREAM_ENTRIES = 1000  # in one batch
TIMEOUT_S = 10.0
ROUND_TRIP = Histogram(
    "comfyfleet_redis_seconds", "One round trip to Redis, with all that was sent together.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10),
)  # fmt: skip


def unavailable(error: Exception) -> Busy:
    """What a caller is told when Redis fails, in words that say what to look at."""
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
        return Busy(
            "store_unavailable", f"Redis does not answer ({error}): is it running, and is redis.url right?", 1.0
        )
    return Busy("store_unavailable", f"Redis refuses to work: {error}", 1.0)


class Database:
    """One fleet's Redis. `keys` names its keys; `script` runs a Lua file by name; `fetch` runs plain reads; `follow`
    reads a stream as it grows."""

    def __init__(self, url: str, keys: Keys, preamble: str) -> None:
        self.keys = keys
        self._url = url
        self._redis = self.client(socket_timeout=None)
        self._encode = self._redis.get_encoder().encode
        self._sources = {
            file.name.removesuffix(".lua"): preamble + file.read_text()
            for file in resources.files("orchestrator.store").joinpath("lua").iterdir()
            if file.name.endswith(".lua") and not file.name.startswith("_")
        }
        self._shas = {name: sha1(text.encode()).hexdigest() for name, text in self._sources.items()}
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._flusher: asyncio.Task[None] | None = None

    def client(self, socket_timeout: float | None = TIMEOUT_S) -> Redis:
        """A client of its own, for who blocks or subscribes. Retries are ours: a script's outcome may be unknown."""
        return Redis.from_url(
            self._url, socket_timeout=socket_timeout, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )

    async def load_scripts(self) -> None:
        """Tells Redis the Lua files. Raises Busy when it does not answer."""
        try:
            replies = await _exchange(self._redis, [("SCRIPT", "LOAD", source) for source in self._sources.values()])
            _all_well(replies)
        except (RedisError, OSError) as error:
            raise unavailable(error) from error

    def script(self, name: str, *args: Any) -> asyncio.Future[Any]:
        """The reply of one atomic transition."""
        return self._send(("EVALSHA", self._shas[name], 1, self.keys.prefix, *args))

    async def fetch(self, *commands: Sequence[Any]) -> list[Any]:
        """The replies of plain commands, in order; not atomic together."""
        return list(await asyncio.gather(*(self._send(tuple(command)) for command in commands)))

    def new_id(self) -> str:
        """A fresh run id."""
        return uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))

    async def follow(self, stream: str, after: bytes) -> AsyncGenerator[list[tuple[bytes, dict[bytes, bytes]]], None]:
        """Batches of the stream's entries (id, fields) behind `after`, for ever: waits for a Redis that is away."""
        redis = self.client(socket_timeout=None)
        away = False
        try:
            while True:
                read = ("XREAD", "COUNT", STREAM_ENTRIES, "BLOCK", BLOCK_MS, "STREAMS", stream, after)
                try:
                    (reply,) = _all_well(await _exchange(redis, [read]))
                except (RedisError, OSError) as error:
                    if not away:
                        log.warning("waiting: %s", unavailable(error).message)
                    away = True
                    await asyncio.sleep(RECONNECT_S)
                    continue
                away = False
                if entries := codec.stream_entries(reply):
                    after = entries[-1][0]
                    yield entries
        finally:
            await redis.aclose()

    async def close(self) -> None:
        if self._flusher:
            await asyncio.gather(self._flusher, return_exceptions=True)
        await self._redis.aclose()

    def _send(self, command: tuple[Any, ...]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # Encoded here, so that what cannot be fails its own caller, and not all with whom it would have travelled.
        self._waiting.append((tuple(map(self._encode, command)), future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="store-flush")
        return future

    async def _flush(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # what others are about to ask, in this turn of the loop, goes along
            batch, self._waiting = self._waiting[:PIPELINE_MAX], self._waiting[PIPELINE_MAX:]
            commands = [command for command, _ in batch]
            try:
                replies = await self._run(commands)
            except (RedisError, OSError) as error:
                replies = [error] * len(batch)
            for (_, future), reply in zip(batch, replies, strict=True):
                _settle(future, reply)

    async def _run(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        replies = await self._pipeline(commands)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:  # Redis was restarted: those scripts did not run
            _all_well(await self._pipeline([("SCRIPT", "LOAD", source) for source in self._sources.values()]))
            for i, reply in zip(unknown, await self._pipeline([commands[i] for i in unknown]), strict=True):
                replies[i] = reply
        return replies

    async def _pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        with ROUND_TRIP.time():
            return await _exchange(self._redis, commands)


async def _exchange(redis: Redis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The replies, errors among them, to what is sent in one go. `redis` has no socket_timeout: with one, redis-py
    makes a task of every sending, which may also swallow a cancellation."""
    connections = redis.connection_pool
    try:
        async with asyncio.timeout(TIMEOUT_S):
            connection = await connections.get_connection()
            try:
                await connection.send_packed_command(connection.pack_commands(commands))
                return [await _reply(connection) for _ in commands]
            except BaseException:
                await connection.disconnect(nowait=True)  # what is still to come must not answer somebody else
                raise
            finally:
                await connections.release(connection)
    except TimeoutError as error:
        raise RedisTimeoutError(f"no answer within {TIMEOUT_S:.0f} s") from error


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _all_well(replies: list[Any]) -> list[Any]:
    """The replies, if none of them is an error."""
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
    return replies


def _settle(future: asyncio.Future[Any], reply: Any) -> None:
    if future.cancelled():
        return
    if isinstance(reply, ResponseError) and "user_script" in str(reply):  # a bug of ours, not Redis's
        _, illegal, story = str(reply).partition("illegal transition: ")
        bug = IllegalTransition("illegal_transition", illegal + story) if illegal else RuntimeError(f"Lua: {reply}")
        future.set_exception(bug)
    elif isinstance(reply, RedisError | OSError):
        future.set_exception(unavailable(reply))
    else:
        future.set_result(reply)
