"""/ws: a client is told of its jobs one after the other, in the order of its queue, as one ComfyUI would execute them.

However many of them execute at once: a client that knows only one ComfyUI could not tell their messages apart. What it
was sent is remembered in the store, so that it hears all of a job when it comes late, and nothing twice when it comes
again, be it to another controller.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from orchestrator.api.native.callers import Callers, check_client_id
from orchestrator.api.native.history import entry, is_kept
from orchestrator.api.native.teller import Message, Teller, encode
from orchestrator.controller import strict_json
from orchestrator.controller.events import EventHub, order
from orchestrator.domain.job import Job
from orchestrator.errors import Busy, FleetError, InvalidRequest, NotFound
from orchestrator.store.port import Store
from orchestrator.store.port.clients import Posted, client_topic

log = logging.getLogger(__name__)

HEARTBEAT_S = 30.0  # finds out that a client is gone
CLOSE_S = 1.0
RETRY_S = 1.0
MESSAGE_MAX = 1 << 20  # of what clients say
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4
_IMAGE_TYPES = {"image/jpeg": 1, "image/png": 2}


class Sockets:
    """`features`: what this ComfyUI supports."""

    def __init__(self, store: Store, events: EventHub, callers: Callers, features: Mapping[str, Any]) -> None:
        self._store = store
        self._events = events
        self._callers = callers
        self._features = features
        self._telling: dict[str, asyncio.Task[None]] = {}  # by client
        self._open: set[web.WebSocketResponse] = set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        client_id = check_client_id(request.query.get("clientId")) or uuid.uuid4().hex
        self._callers.of(request)
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, timeout=CLOSE_S, compress=False, max_msg_size=MESSAGE_MAX)
        await socket.prepare(request)
        self._open.add(socket)
        session = Session(self._store, self._events, client_id, socket)
        if former := self._telling.get(client_id):
            former.cancel()  # its socket stays open, and hears nothing more
        telling = self._telling[client_id] = asyncio.create_task(session.tell(), name=f"native-{client_id}")
        try:
            await self._listen(socket, session)
        finally:
            self._open.discard(socket)
            telling.cancel()
            await asyncio.wait((telling,))
            if self._telling.get(client_id) is telling:
                del self._telling[client_id]
        return socket

    async def close(self, app: web.Application) -> None:
        """The on_shutdown signal: clients come again, here or to another controller."""
        for socket in list(self._open):
            await socket.close(code=WSCloseCode.GOING_AWAY)

    async def _listen(self, socket: web.WebSocketResponse, session: Session) -> None:
        first = True
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            if first and (flags := _flags(message.data)) is not None:
                session.with_metadata = flags.get("supports_preview_metadata") is True
                await session.send(encode("feature_flags", self._features))
            first = False


class Session:
    """One client, for as long as its socket is open."""

    def __init__(self, store: Store, events: EventHub, client_id: str, socket: web.WebSocketResponse) -> None:
        self.with_metadata = False
        self._store = store
        self._events = events
        self._client_id = client_id
        self._socket = socket
        self._waiting: dict[str, float] = {}  # job -> its place in the queue, of those not told to their end
        self._told: set[str] = set()  # jobs to their end, which the store may not know yet
        self._news = asyncio.Event()
        self._begun = False  # the client has heard of the job that is being told
        self._delayed: bytes | None = None  # a preview that goes after the step that it belongs to

    async def tell(self) -> None:
        """For ever. A store that is away is waited for."""
        learned = gone = False
        while not gone:
            self._told.clear()  # what the store has not learnt of is told once more
            try:
                await self._learn()
                if not learned:
                    learned = True
                    await self.send(self._status(sid=True))
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._watch())
                    group.create_task(self._tell_jobs())
            except* ConnectionError:
                gone = True
            except* FleetError as failures:
                log.warning("client %s waits: %s", self._client_id, failures.exceptions[0])
            await asyncio.sleep(RETRY_S)

    async def send(self, message: Message) -> None:
        """Raises ConnectionError when the client is gone."""
        if isinstance(message, str):
            await self._socket.send_str(message)
        else:
            await self._socket.send_bytes(message)

    async def _watch(self) -> None:
        async with aclosing(self._events.occasions(client_topic(self._client_id))) as occasions:
            async for _ in occasions:
                for _ in range(await self._learn()):
                    await self.send(self._status())

    async def _learn(self) -> int:
        """Which jobs there are; answers how many are new."""
        found = await self._store.undelivered(self._client_id)
        self._told &= found.keys()
        new = 0
        for job_id in found.keys() - self._waiting.keys() - self._told:
            try:
                origin = (await self._store.job(job_id)).spec.origin
            except NotFound:
                await self._store.delivered(self._client_id, job_id, None)
                continue
            self._waiting[job_id] = origin.number if origin else 0.0
            new += 1
        if new:
            self._news.set()
        return new

    async def _tell_jobs(self) -> None:
        """One that has not begun is left for what comes to stand before it."""
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            self._begun, job_id = False, self._next()
            telling = asyncio.create_task(self._tell(job_id))
            overtaking = asyncio.create_task(self._overtaken(job_id))
            try:
                await asyncio.wait((telling, overtaking), return_when=asyncio.FIRST_COMPLETED)
                if self._begun or telling.done():
                    await telling
            finally:
                telling.cancel()
                overtaking.cancel()
                await asyncio.wait((telling, overtaking))

    async def _overtaken(self, job_id: str) -> None:
        """Until another job stands before it."""
        while self._next() == job_id:
            self._news.clear()
            await self._news.wait()

    def _next(self) -> str:
        return min(self._waiting, key=lambda waiting: (self._waiting[waiting], waiting))

    async def _tell(self, job_id: str) -> None:
        """One job, to its end."""
        cursor = order((await self._store.undelivered(self._client_id)).get(job_id, "0-0"))
        teller = Teller(job_id)
        async with aclosing(self._events.subscribe(job_id, comfy=True)) as events:
            async for event in events:
                fresh = event.id is None or order(event.id) > cursor
                began = teller.started
                messages = list(teller.hear(event))
                if fresh and messages:
                    self._begun = True
                    if teller.started and not began:
                        await self.send(self._status())
                    for message in messages:
                        await self._send_in_order(message)
                    if event.id is not None:
                        await self._store.delivered(self._client_id, job_id, event.id)
        job = await self._store.job(job_id)
        if not job.terminal:  # this controller is about to stop: another one goes on
            raise Busy("stopping", "the subscription ended", RETRY_S)
        (posted,) = await self._store.posted([job_id])
        await self._tell_end(teller, job, posted)

    async def _tell_end(self, teller: Teller, job: Job, posted: Posted | None) -> None:
        job_id = job.spec.id
        self._begun, began = True, teller.started
        messages = list(teller.end(entry(job, posted))) if posted and is_kept(job) else []
        if messages and not began:
            await self.send(self._status())
        for message in messages:
            await self._send_in_order(message)
        del self._waiting[job_id]
        self._told.add(job_id)
        await self.send(self._status())
        if messages:
            await self.send(encode("executing", {"node": None, "prompt_id": job_id}))
        await self._store.delivered(self._client_id, job_id, None)

    async def _send_in_order(self, message: Message) -> None:
        """Clients that do not know metadata get a picture without them, after the step and not before it."""
        if isinstance(message, bytes) and not self.with_metadata and (bare := without_metadata(message)) is not None:
            await self._flush()
            self._delayed = bare
            return
        is_step = isinstance(message, str) and message.startswith('{"type": "progress"')
        if not is_step:
            await self._flush()
        await self.send(message)
        if is_step:
            await self._flush()

    async def _flush(self) -> None:
        if self._delayed is not None:
            delayed, self._delayed = self._delayed, None
            await self.send(delayed)

    def _status(self, *, sid: bool = False) -> str:
        said: dict[str, Any] = {"status": {"exec_info": {"queue_remaining": len(self._waiting)}}}
        return encode("status", {**said, "sid": self._client_id} if sid else said)


def without_metadata(frame: bytes) -> bytes | None:
    """The same picture as older clients know it; None if it is no picture with metadata."""
    if int.from_bytes(frame[:4], "big") != _PREVIEW_WITH_METADATA:
        return None
    end = 8 + int.from_bytes(frame[4:8], "big")
    image_type = _IMAGE_TYPES.get(json.loads(frame[8:end]).get("image_type", "image/jpeg"), 1)
    return _PREVIEW.to_bytes(4, "big") + image_type.to_bytes(4, "big") + frame[end:]


def _flags(said: str) -> Mapping[str, Any] | None:
    """The features of a client whose first message tells them."""
    try:
        message = strict_json.loads(said.encode())
    except InvalidRequest:
        return None
    if not isinstance(message, dict) or message.get("type") != "feature_flags":
        return None
    flags = message.get("data")
    return flags if isinstance(flags, dict) else {}
