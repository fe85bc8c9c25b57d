"""A client of the API that shows status and JSON at once, and the documents that most tests send."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import aiohttp
import orjson
from aiohttp.test_utils import TestClient

from orchestrator.api.services import Services
from orchestrator.settings import LimitSettings

GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 0}},
    "2": {
        "class_type": "SaveImage",
        "inputs": {"images": ["1", 0], "filename_prefix": "img"},
        "_meta": {"title": "Save"},
    },
}
WORKFLOW: dict[str, Any] = {
    "name": "blank",
    "graph": GRAPH,
    "params": {
        "type": "object",
        "properties": {
            "width": {"type": "integer", "minimum": 1, "default": 64},
            "prefix": {"type": "string", "maxLength": 40},
        },
        "required": ["prefix"],
    },
    "bind": {"width": "1.width", "prefix": "@Save.filename_prefix"},
}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    json: Any
    headers: Any

    @property
    def code(self) -> str:
        return self.json["error"]["code"]

    @property
    def pointer(self) -> str | None:
        return self.json["error"]["details"].get("pointer")


class Api:
    def __init__(self, http: TestClient[Any, Any], services: Services, limits: LimitSettings) -> None:
        self.http = http
        self.services = services
        self.limits = limits

    async def get(self, path: str, **options: Any) -> Reply:
        return await self._reply("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        """JSON of the body; bytes are sent as they are."""
        data = BytesIO(body if isinstance(body, bytes) else orjson.dumps({} if body is None else body))
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return await self._reply("POST", path, data=data, headers=headers, **options)

    async def upload(self, data: bytes, filename: str, content_type: str | None = None) -> Reply:
        form = aiohttp.FormData(quote_fields=False)  # as browsers and curl do
        form.add_field("file", BytesIO(data), filename=filename, content_type=content_type)
        return await self._reply("POST", "/v1/assets", data=form)

    async def _reply(self, method: str, path: str, **options: Any) -> Reply:
        async with self.http.request(method, path, **options) as response:
            body = await response.read()
            assert "X-Request-Id" in response.headers
            return Reply(response.status, orjson.loads(body) if body else None, response.headers)
