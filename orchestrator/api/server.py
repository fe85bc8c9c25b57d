"""The connections under the application: how long they may idle, and what is answered to what is no HTTP.

What aiohttp cannot parse it would answer in plain text, with a traceback in the log, which lets anybody fill the log.
Here that gets the document that every refusal is. Bodies come as they were sent: to unpack one that was compressed
could cost a thousand times what sending it did (see `refuse_in_json`).
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from orchestrator.api.errors import refusal, request_id
from orchestrator.api.listening import BACKLOG
from orchestrator.errors import InvalidRequest

log = logging.getLogger(__name__)

CLOSE_CONNECTIONS_S = 5.0
IDLE_S = 75.0  # more than the 60 s of most proxies; a request's headers must have come by then, too
_OPTIONS: Mapping[str, Any] = {"keepalive_timeout": IDLE_S, "auto_decompress": False, "access_log": None}
_THEIRS = (HttpProcessingError, web.RequestPayloadError, ConnectionError)  # the caller's doing, and no news to us


@asynccontextmanager
async def serving(app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
    """Serves in the body; afterwards those who are being answered have CLOSE_CONNECTIONS_S to come to their end."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_CONNECTIONS_S)
    await runner.setup()
    try:
        manager = runner.server
        assert manager is not None
        loop = asyncio.get_running_loop()

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4  # the rest is for Redis, storage and workers

        def connection() -> asyncio.Protocol:
            if len(manager.connections) >= most:
                return TurnedAway()
            return Connection(manager, loop=loop, **_OPTIONS)

        server = await loop.create_server(connection, sock=listener, backlog=BACKLOG)
        try:
            yield
        finally:
            server.close()  # takes nobody new; those who are here are the runner's to close
    finally:
        await runner.cleanup()


class TurnedAway(asyncio.Protocol):
    """A caller too many. (To run out of files would be worse: asyncio logs every one that it then cannot accept, again
    and again, and nothing else can be opened either.)"""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class Connection(web.RequestHandler):
    """One caller's."""

    __slots__ = ()

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if not isinstance(exc, _THEIRS):
            return super().handle_error(request, status, exc, message)
        log.debug("a request of %s cannot be read", request.remote, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way already")
        reason = " ".join((message or "").partition("\n\n")[0].split()).rstrip(":")
        error = InvalidRequest("malformed_request", f"this is not HTTP as it should be: {reason or type(exc).__name__}")
        response = refusal(error)
        response.headers["X-Request-Id"] = request_id(request)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **options: Any) -> None:
        level = logging.DEBUG if isinstance(options.get("exc_info"), _THEIRS) else logging.ERROR
        log.log(level, *args, **options)
