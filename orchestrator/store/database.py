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
        self._redis = self.client()
        self._encode = self._redis.get_encoder().encode
        self._sources = {
            file.name.removesuffix(".lua"): preamble + file.read_text()
            for file in resources.files("orchestrator.store").joinpath("lua").iterdir()
            if file.name.endswith(".lua") and not file.name.startswith("_")
        }
        self._shas = {name: sha1(text.encode()).hexdigest() for name, text in self._sources.items()}
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._flusher: asyncio.Task[None] | None = None

    def client(self) -> Redis:
        """A client of its own, for who blocks or subscribes. Retries are ours: a script's outcome may be unknown."""
        return Redis.from_url(
            self._url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )

    async def load_scripts(self) -> None:
        """Tells Redis the Lua files. Raises Busy when it does not answer."""
        try:
            for source in self._sources.values():
                await self._redis.script_load(source)
        except (RedisError, OSError) as error:
            raise unavailable(error) from error

    async def script(self, name: str, *args: Any) -> Any:
        """The reply of one atomic transition."""
        return await self._send(("EVALSHA", self._shas[name], 1, self.keys.prefix, *args))

    async def fetch(self, *commands: Sequence[Any]) -> list[Any]:
        """The replies of plain commands, in order; not atomic together."""
        return list(await asyncio.gather(*(self._send(tuple(command)) for command in commands)))

    def new_id(self) -> str:
        """A fresh run id."""
        return uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))

    async def follow(self, stream: str, after: bytes) -> AsyncGenerator[list[tuple[bytes, dict[bytes, bytes]]], None]:
        """Batches of the stream's entries (id, fields) behind `after`, for ever: waits for a Redis that is away."""
        redis = self.client()
        away = False
        try:
            while True:
                try:
                    reply = await redis.execute_command(
                        "XREAD", "COUNT", STREAM_ENTRIES, "BLOCK", BLOCK_MS, "STREAMS", stream, after
                    )
                except (RedisError, OSError) as error:
                    if not away:
                        log.warning("waiting: %s", unavailable(error).message)
                    away = True
                    await asyncio.sleep(RECONNECT_S)
                    continue
                away = False
                _heed_cancellation()
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
            for source in self._sources.values():
                await self._redis.script_load(source)
            for i, reply in zip(unknown, await self._pipeline([commands[i] for i in unknown]), strict=True):
                replies[i] = reply
        return replies

    async def _pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        with ROUND_TRIP.time():
            return await self._piped(commands)

    async def _piped(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return await pipe.execute(raise_on_error=False)


def _heed_cancellation() -> None:
    """redis-py sends within asyncio.wait_for, which before Python 3.12 swallows a cancellation that comes as that is
    done: whoever asks again and again has to look whether there was one."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


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
