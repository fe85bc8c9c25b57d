"""Routes as a table: what each takes and answers, from which both the server and the OpenAPI document are made.

A route's `body` and `query` models parse the request before its handler sees it, so what is documented is what is
enforced.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import MultiMapping

from orchestrator.controller import strict_json
from orchestrator.controller.requests import Request, conform
from orchestrator.errors import InvalidRequest, NotFound

BODY_S = 60.0
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_BRACKETED = re.compile(r"([a-z_]+)\[(.*)\]")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a route: `schema` is a TypedDict, or None where `media` is not JSON."""

    description: str
    schema: Any = None
    media: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`handler` is called with the request, then the parsed query and body where the route has them."""

    method: str
    path: str
    handler: Callable[..., Awaitable[web.StreamResponse]]
    summary: str
    answers: Mapping[int, Answer]
    refusals: Sequence[str] = ()  # codes of its own, beside those that every route of its kind has
    query: type[Request] | None = None
    body: type[Request] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])  # request headers it looks at: name -> meaning
    upload: str | None = None  # name of the file field of a multipart body

    @property
    def streams(self) -> bool:
        """Whether it answers for as long as something happens."""
        return any(each.media == "text/event-stream" for each in self.answers.values())


def serve(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The route as aiohttp calls it."""
    if route.query is None and route.body is None:
        return route.handler

    async def handle(request: web.Request) -> web.StreamResponse:
        parsed: list[Request] = []
        if route.query is not None:
            parsed.append(conform(route.query, _nested(request.query)))
        if route.body is not None:
            parsed.append(conform(route.body, await _json(request)))
        return await route.handler(request, *parsed)

    return handle


def id_of(request: web.Request, kind: str, place: str = "id") -> str:
    """The id of a `kind` of thing in the path. Raises NotFound for what is none: keys of the store are made of ids, so
    that nothing else may get there."""
    found = request.match_info[place]
    if not _ID.fullmatch(found):
        raise NotFound(f"{kind}_not_found", f"there is no {kind} {found[:80]!r}")
    return found


async def _json(request: web.Request) -> Any:
    if request.content_type != "application/json":
        raise InvalidRequest(
            "unsupported_media_type", f"send JSON with Content-Type: application/json, not {request.content_type[:100]}"
        )
    return await read_json(request)


async def read_json(request: web.Request) -> Any:
    """The body as JSON, whatever its headers call it. Raises InvalidRequest."""
    if (request.content_length or 0) > request.client_max_size:  # before a byte of it is waited for
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, request.content_length or 0)
    try:
        async with asyncio.timeout(BODY_S):
            return strict_json.loads(await request.read())
    except TimeoutError:
        raise body_too_slow(BODY_S) from None


def body_too_slow(seconds: float) -> InvalidRequest:
    """For a caller who begins to send and does not go on."""
    return InvalidRequest("body_too_slow", f"the body did not come within {seconds:.0f} s: send it in one go")


def _nested(query: MultiMapping[str]) -> dict[str, Any]:
    """The query as a document: label[team]=a becomes {"label": {"team": "a"}}."""
    document: dict[str, Any] = {}
    for name, value in query.items():
        key, holder = name, document
        if bracketed := _BRACKETED.fullmatch(name):
            holder = document.setdefault(bracketed[1], {})
            key = bracketed[2]
        if not isinstance(holder, dict) or key in holder:
            raise InvalidRequest("invalid_request", f"the query names {name[:80]} twice; keep one", pointer=f"/{key}")
        holder[key] = value
    return document
