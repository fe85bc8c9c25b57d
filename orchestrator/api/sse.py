"""Server-sent events: a stream of a job's events that a proxy does not cut off, and that its reader can resume."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import orjson
from aiohttp import web

from orchestrator.api.errors import request_id
from orchestrator.domain.event import Event
from orchestrator.errors import FleetError

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 15.0
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}


def encode(event: Event) -> bytes:
    """One event as the wire has it."""
    head = f"id: {event.id}\n" if event.id is not None else ""
    return f"{head}event: {event.type}\ndata: ".encode() + orjson.dumps(event.data) + b"\n\n"


async def stream(request: web.Request, events: AsyncIterator[Event]) -> web.StreamResponse:
    """Sends the events until there are no more, the store fails, or their reader is gone; a reader that is still
    there comes again with Last-Event-ID."""
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    try:
        async with asyncio.TaskGroup() as group:
            alive = group.create_task(_keep_alive(response))
            async for event in events:
                await response.write(encode(event))
            alive.cancel()
        await response.write_eof()
    except* ConnectionError:
        log.debug("request %s: its reader is gone", request_id(request))
    except* FleetError as failures:
        log.warning("request %s: stream of events broke off: %s", request_id(request), failures.exceptions[0])
    return response


async def _keep_alive(response: web.StreamResponse) -> None:
    """Comments in between, which also find out that the reader is gone. A write is one frame, so that it cannot fall
    into the middle of an event."""
    while True:
        await asyncio.sleep(KEEP_ALIVE_S)
        await response.write(b": keep-alive\n\n")
