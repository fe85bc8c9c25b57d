"""Every refusal and failure as one document: {"error": {"code", "message", "details"}}, with a request id.

STATUS is the one place where a code gets its HTTP status; a code that is not in it gets that of its class.
"""

from __future__ import annotations

import logging
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import HttpVersion11, web

from orchestrator.errors import Busy, Conflict, FleetError, InvalidRequest, NotFound
from orchestrator.telemetry import traces
from orchestrator.telemetry.ids import about

log = logging.getLogger(__name__)

STATUS: Mapping[str, int] = {
    "duplicate_key": 400,
    "invalid_cursor": 400,
    "invalid_event_id": 400,
    "invalid_idempotency_key": 400,
    "invalid_json": 400,
    "invalid_multipart": 400,
    "invalid_request": 400,
    "json_too_deep": 400,
    "malformed_request": 400,
    "nul_character": 400,
    "unreadable_body": 400,
    "forbidden": 403,
    "no_such_route": 404,
    "not_found": 404,
    "blob_not_found": 404,
    "asset_not_found": 404,
    "job_not_found": 404,
    "no_review": 404,
    "review_over": 409,
    "output_not_found": 404,
    "worker_not_found": 404,
    "hash_mismatch": 409,
    "worker_attached": 409,
    "worker_state": 409,
    "workflow_not_found": 404,
    "method_not_allowed": 405,
    "body_too_slow": 408,
    "body_too_large": 413,
    "too_many_values": 413,
    "unsupported_encoding": 415,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "unknown_expectation": 417,
    "idempotency_key_reuse": 422,
    "invalid_binding": 422,
    "invalid_image": 422,
    "invalid_candidates": 422,
    "invalid_group": 422,
    "invalid_params": 422,
    "invalid_period": 422,
    "invalid_quality": 422,
    "invalid_registration": 422,
    "invalid_schema": 422,
    "invalid_workflow": 422,
    "invalid_metadata_filter": 422,
    "metadata_invalid": 422,
    "missing_asset": 422,
    "unknown_output": 422,
    "workflow_format_ui": 422,
    "queue_full": 429,
    "internal_error": 500,
    "asset_deleting": 503,
    "store_unavailable": 503,
    "storage_unavailable": 503,
    "storage_full": 507,
}
_CLASSES = ((InvalidRequest, 422), (NotFound, 404), (Conflict, 409), (Busy, 503))
_FROM_AIOHTTP = {404: "no_such_route", 405: "method_not_allowed", 413: "body_too_large"}

_REQUEST_ID = web.RequestKey("request_id", str)
_USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})  # they begin nothing, and there are many of them
MAX_MESSAGE = 2000  # characters; a message that quotes a huge document must not become one

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status_of(error: FleetError) -> int:
    """500 for what no caller can do anything about."""
    return STATUS.get(error.code) or next((status for kind, status in _CLASSES if isinstance(error, kind)), 500)


def request_id(request: web.Request) -> str:
    """The caller's X-Request-Id where it is usable, else one of ours; the same for the whole request."""
    if _REQUEST_ID not in request:
        theirs = request.headers.get("X-Request-Id", "")
        request[_REQUEST_ID] = theirs if _USABLE_ID.fullmatch(theirs) else secrets.token_hex(8)
    return request[_REQUEST_ID]


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """The on_response_prepare signal: every answer carries its request id."""
    response.headers["X-Request-Id"] = request_id(request)


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(document), status=status, headers=headers, content_type="application/json")


def refusal(error: FleetError) -> web.Response:
    """The answer that tells this error."""
    headers = {"Retry-After": str(max(1, math.ceil(error.retry_after)))} if isinstance(error, Busy) else None
    return _error(status_of(error), error.code, error.message, error.details, headers)


@web.middleware
async def refuse_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever a handler raises into the answer that tells it."""
    with about(request=request_id(request)):
        if not traces.on() or request.method in _HARMLESS:
            return await _answered(request, handler)
        told = {"http.request.method": request.method, "http.route": _route(request), "request": request_id(request)}
        parent = request.headers.get("traceparent")
        with traces.span(f"{request.method} {_route(request)}", told, parent=parent, server=True):
            response = await _answered(request, handler)
            traces.note({"http.response.status_code": response.status})
            return response


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        _refuse_packed(request)
        return await handler(request)
    except FleetError as error:
        status = status_of(error)
        if status == 500:
            return _unexpected(request)
        route = f"{request.method} {_route(request)}"
        log.info("refused: %s", error.code, extra={"route": route, "status": status})  # its words may quote a prompt
        return refusal(error)
    except web.HTTPException as error:
        return _from_aiohttp(request, error)
    except web.RequestPayloadError as error:
        response = _error(400, "unreadable_body", f"the body is not what its headers say: {error}")
        response.force_close()  # aiohttp cannot go on with this connection
        return response
    except ConnectionError:  # the caller went away: nobody is left to tell
        raise
    except Exception:  # noqa: BLE001 - the edge: the caller gets an answer, the log gets the story
        return _unexpected(request)


def _route(request: web.Request) -> str:
    """As it is documented, without what the caller put into it."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "-"


async def meet_expectation(request: web.Request) -> web.StreamResponse | None:
    """The Expect header: whoever waits for a word before sending the body is given it (RFC 9110, 10.1.1)."""
    if request.version < HttpVersion11:
        return None
    expected = request.headers.get("Expect", "")
    if expected.lower() != "100-continue":
        message = f"nothing is known of Expect: {expected[:80]}; leave it out, or expect 100-continue"
        return refusal(InvalidRequest("unknown_expectation", message))
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # this was no part of the answer
    return None


def _refuse_packed(request: web.Request) -> None:
    """A compressed body may be a bomb, and nobody needs one."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        message = f"send the body as it is, without Content-Encoding {encoding[:80]}"
        raise InvalidRequest("unsupported_encoding", message)


def _unexpected(request: web.Request) -> web.Response:
    log.exception("request %s failed: %s %s", request_id(request), request.method, request.path[:200])
    message = f"the fleet failed here; its log tells more under request id {request_id(request)}"
    return _error(500, "internal_error", message)


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    code = _FROM_AIOHTTP.get(error.status, "invalid_request")
    messages = {
        "no_such_route": f"there is nothing at {request.path[:200]}; see /docs",
        "method_not_allowed": f"{request.path[:200]} does not take {request.method}; see /docs",
        "body_too_large": "the body is larger than limits.max_body_bytes allows",
    }
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return _error(error.status, code, messages.get(code, error.reason), headers=headers)


def _error(
    status: int, code: str, message: str, details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:  # fmt: skip
    error = {"code": code, "message": message[:MAX_MESSAGE], "details": details or {}}
    return answer({"error": error}, status, headers)
