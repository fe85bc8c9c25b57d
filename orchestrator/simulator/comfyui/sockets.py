"""Who listens: websockets by client id, what each said it supports, and the one task that sends in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from orchestrator.simulator.comfyui.faults import Faults, Kind
from orchestrator.simulator.comfyui.messages import Message, preview_frame, preview_frame_with_metadata, text_frame

logger = logging.getLogger(__name__)


class Sockets:
    """The executing thread posts, the event loop sends; messages of one run never overtake each other."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._loop = asyncio.get_running_loop()
        self._aborts: set[Callable[[], None]] = set()
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._flags: dict[str, Mapping[str, Any]] = {}
        self._waiting: deque[Message] = deque()
        self._awake = asyncio.Event()

    def add(self, client_id: str, socket: web.WebSocketResponse) -> None:
        """A repeated client id replaces the socket; the old one stays open and hears nothing more."""
        self._sockets[client_id] = socket
        self._flags[client_id] = {}

    @contextmanager
    def droppable(self, abort: Callable[[], None]) -> Iterator[None]:
        """While the body runs, `drop` breaks this connection."""
        self._aborts.add(abort)
        try:
            yield
        finally:
            self._aborts.discard(abort)

    def drop(self) -> None:
        """Break every connection, from any thread."""
        for abort in list(self._aborts):
            self._loop.call_soon_threadsafe(abort)

    def forget(self) -> None:
        """What is left when a second socket with the client id of each came and went, from any thread."""
        self._loop.call_soon_threadsafe(self._sockets.clear)

    def remove(self, client_id: str) -> None:
        """As ComfyUI does: by the id alone, so the end of a replaced socket takes its successor's place away."""
        self._sockets.pop(client_id, None)
        self._flags.pop(client_id, None)

    def set_flags(self, client_id: str, flags: Mapping[str, Any]) -> None:
        self._flags[client_id] = flags

    def supports(self, client_id: str | None, feature: str) -> bool:
        return self._flags.get(client_id or "", {}).get(feature) is True

    def post(self, message: Message) -> None:
        """Queue a message, from any thread, to be sent at the next flush; drop one that nobody would hear."""
        if self._faults.standing(Kind.MUTE):
            return
        if message.client_id in self._sockets or (message.client_id is None and self._sockets):
            self._waiting.append(message)

    def flush(self) -> None:
        """Have what is queued sent, from any thread. To wake the loop costs more than the message does."""
        if self._waiting and not self._awake.is_set():
            self._loop.call_soon_threadsafe(self._awake.set)

    async def publish(self) -> None:
        """Send what is flushed, for ever."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            while self._waiting:
                await self.send(self._waiting.popleft())

    async def send(self, message: Message) -> None:
        if message.client_id is None:
            for socket in list(self._sockets.values()):
                await _send(socket, message)
        elif (socket := self._sockets.get(message.client_id)) is not None:
            await _send(socket, message)

    async def close(self) -> None:
        for socket in list(self._sockets.values()):
            await socket.close()
        for abort in list(self._aborts):  # of those that `forget` took out of sight
            abort()


async def _send(socket: web.WebSocketResponse, message: Message) -> None:
    try:
        if message.preview is None:
            await socket.send_str(text_frame(message))
        elif message.data:
            await socket.send_bytes(preview_frame_with_metadata(message.preview, message.data))
        else:
            await socket.send_bytes(preview_frame(message.preview))
    except ConnectionError as error:
        logger.warning("send error: %s", error)
