"""What the contract asks of every answer under /api/v2: its words for what is wrong, and its name for request ids."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from orchestrator.api.errors import request_id
from orchestrator.errors import Busy, InvalidRequest, NotFound

ROOT = "/api/v2"
STORE_WAIT_S = (
    18.0  # with an attempt that begins at its end (10 s), less than the 30 s that the SDKs wait for an answer
)
STORE_RETRY_S = 0.5

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Refusals for which the contract has a word of its own. Ours, which says more, is kept in the details as `reason`.
_WORDS: Mapping[str, tuple[type[InvalidRequest] | type[NotFound], str]] = {
    **dict.fromkeys(
        (
            "duplicate_key", "invalid_event_id", "invalid_idempotency_key", "invalid_json", "invalid_multipart",
            "json_too_deep", "nul_character", "unreadable_body",
        ),
        (InvalidRequest, "invalid_request"),
    ),
    "output_not_found": (NotFound, "asset_not_found"),
}  # fmt: skip


@web.middleware
async def speak(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Has refusals be told in the contract's words."""
    if not _concerned(request):
        return await handler(request)
    try:
        return await (_patient(request, handler) if _may_wait(request) else handler(request))
    except (InvalidRequest, NotFound) as error:
        if error.code not in _WORDS:
            raise
        kind, code = _WORDS[error.code]
        raise kind(code, error.message, reason=error.code, **error.details) from error
    except web.HTTPNotFound:
        raise NotFound("not_found", f"there is nothing at {request.path[:200]}; see /docs") from None


async def _patient(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Waits for a store that is away. The SDKs give up a job when one look at it is refused, whatever the reason."""
    deadline = asyncio.get_running_loop().time() + STORE_WAIT_S
    while True:
        try:
            return await handler(request)
        except Busy as error:
            if error.code != "store_unavailable" or asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(STORE_RETRY_S)


def _may_wait(request: web.Request) -> bool:
    """Whoever looks at something; but the health of the fleet is told as it is."""
    return request.method in ("GET", "HEAD") and request.path != f"{ROOT}/health"


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """The on_response_prepare signal."""
    if _concerned(request):
        response.headers["X-Comfy-Request-Id"] = request_id(request)


def _concerned(request: web.Request) -> bool:
    return request.path.startswith(ROOT + "/")
