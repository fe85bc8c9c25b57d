"""How this door reads requests and answers them: JSON whatever its Content-Type says, refusals in ComfyUI's shape."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from orchestrator.api.errors import answer, status_of
from orchestrator.api.native.refusals import plain
from orchestrator.api.routes import read_json
from orchestrator.errors import Busy, FleetError, InvalidRequest

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def native(handler: Handler) -> Handler:
    """The handler with its refusals in ComfyUI's shape."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except FleetError as error:
            status = status_of(error)
            if status == 500:
                raise
            headers = {"Retry-After": str(max(1, math.ceil(error.retry_after)))} if isinstance(error, Busy) else None
            return answer(plain(error), 400 if status == 422 else status, headers)

    return handle


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object that was sent. Raises InvalidRequest."""
    document = await read_json(request)
    if not isinstance(document, dict):
        raise InvalidRequest("invalid_request", "send a JSON object")
    return document
