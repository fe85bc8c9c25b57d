"""Stream: the websocket of one ComfyUI as an endless iterator of events that reconnects by itself.

Every connection has a client_id of its own, because a second socket with the id of a first makes ComfyUI forget both.
So what was posted under an older id is not heard of any more: whoever posted it has to poll, which `Disconnected` says.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from orchestrator.comfy.protocol import Event, parse

FRAME_MAX = 64 << 20
QUEUE_FRAMES = 1024  # a burst of progress is not worth stopping to read for
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# ComfyUI's loop may stand still for a while as it loads models or builds its object_info.
PING_S, PONG_S, OPEN_S = 20.0, 60.0, 10.0

_HELLO = orjson.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}).decode()


@dataclass(frozen=True, slots=True)
class Connected:
    """Events of what is posted with this client_id come from now on."""

    client_id: str


@dataclass(frozen=True, slots=True)
class Heard:
    """`frame` is what `event` was read from."""

    event: Event
    frame: str | bytes


@dataclass(frozen=True, slots=True)
class Disconnected:
    reason: str


class Stream:
    """The events of the ComfyUI at `url` (http or https), for ever. Reading it slowly slows ComfyUI's sending only."""

    def __init__(self, url: str) -> None:
        self._url = "ws" + url.rstrip("/").removeprefix("http") + "/ws?clientId="
        self._socket: ClientConnection | None = None

    async def carries(self, within_s: float) -> bool:
        """Whether the connection there is now goes through to ComfyUI and back. One that does not is given up."""
        socket = self._socket
        if socket is None:
            return False
        try:
            async with asyncio.timeout(within_s):
                await (await socket.ping())
        except (TimeoutError, WebSocketException):
            socket.transport.abort()
            return False
        return True

    async def __aiter__(self) -> AsyncIterator[Heard | Connected | Disconnected]:
        failures = 0
        while True:
            client_id = uuid.uuid4().hex
            try:
                async with connect(
                    self._url + client_id,
                    compression=None,
                    max_size=FRAME_MAX,
                    max_queue=QUEUE_FRAMES,
                    ping_interval=PING_S,
                    ping_timeout=PONG_S,
                    open_timeout=OPEN_S,
                    close_timeout=1.0,
                    proxy=None,
                ) as socket:
                    await socket.send(_HELLO)  # heeded only as the first message
                    failures = 0
                    self._socket = socket
                    yield Connected(client_id)
                    async for frame in socket:
                        yield Heard(parse(frame), frame)
                reason = "ComfyUI closed the connection"
            except (OSError, WebSocketException) as error:
                reason = f"{type(error).__name__}: {error}"
            self._socket = None
            if failures == 0:
                yield Disconnected(reason)
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1
