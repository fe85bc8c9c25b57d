"""Callers: whose jobs a request is about.

ComfyUI has one queue for everybody; here each client has its own. Most requests do not say from whom they come, so a
caller is known, in this order, by the clientId that the request names (in its query, its body, or the header
Comfy-Client-Id), by the clientId that was last named over the same connection, and else by its address. Until there
are keys this keeps clients out of each other's way, and is no defence: clientId=* asks for everybody's.
"""

from __future__ import annotations

from asyncio import BaseTransport
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from orchestrator.errors import InvalidRequest
from orchestrator.store.port.clients import EVERYONE, client_topic, peer_owner

HEADER = "Comfy-Client-Id"
ALL = "*"
MAX_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """`client_id` None: all that is known is the address."""

    peer: str
    client_id: str | None

    @property
    def owner(self) -> str:
        """Of the jobs that it sees (see store/port/)."""
        if self.client_id is None:
            return peer_owner(self.peer)
        return EVERYONE if self.client_id == ALL else client_topic(self.client_id)

    @property
    def is_named(self) -> bool:
        """There is no doubt whose jobs these are."""
        return self.client_id is not None


class Callers:
    def __init__(self) -> None:
        self._by_connection: WeakKeyDictionary[BaseTransport, str] = WeakKeyDictionary()

    def of(self, request: web.Request, body: Mapping[str, Any] | None = None) -> Caller:
        """Raises InvalidRequest for a clientId that can be none."""
        named = (body or {}).get("client_id") or request.query.get("clientId") or request.query.get("client_id")
        client_id = check_client_id(named or request.headers.get(HEADER))
        transport = request.transport
        if client_id is None and transport is not None:
            client_id = self._by_connection.get(transport)
        elif client_id not in (None, ALL) and transport is not None:
            self._by_connection[transport] = str(client_id)
        return Caller(request.remote or "unknown", client_id)


def check_client_id(given: object) -> str | None:
    """None for none."""
    if given is None or given == "":
        return None
    if not isinstance(given, str) or len(given) > MAX_LENGTH or not given.isprintable():
        raise InvalidRequest("invalid_request", f"a client_id is at most {MAX_LENGTH} characters that print")
    return given
