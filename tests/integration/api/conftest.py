"""A controller's API over real sockets, on a real store and real storage, with no worker but those a test plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from orchestrator.api.app import create_app
from orchestrator.api.services import Services
from orchestrator.controller.catalogs import Catalogs
from orchestrator.controller.events import EventHub
from orchestrator.controller.intake import Intake
from orchestrator.controller.registry import Registry
from orchestrator.delivery.local import LocalStorage
from orchestrator.settings import LimitSettings
from orchestrator.store.redis import RedisStore
from tests.integration.api.double import WorkerDouble

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
    """A client that shows status and JSON at once."""

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


@pytest.fixture
def limits() -> LimitSettings:
    """Override in a test module for others."""
    return LimitSettings(max_body_bytes=1 << 20, max_upload_bytes=1 << 20)


@pytest.fixture
async def services(store: RedisStore, tmp_path: Path) -> AsyncIterator[Services]:
    catalogs = Catalogs(store)
    registry = Registry(store, catalogs)
    events = EventHub(store)
    storage = LocalStorage(tmp_path / "storage")
    running = asyncio.create_task(events.run())
    yield Services(store, registry, Intake(store, registry, catalogs), events, storage)
    running.cancel()
    await asyncio.wait([running])
    await storage.close()


@pytest.fixture
async def api(services: Services, limits: LimitSettings) -> AsyncIterator[Api]:
    async with TestClient(TestServer(create_app(services, limits))) as http:
        yield Api(http, services, limits)


@pytest.fixture
async def worker(store: RedisStore, services: Services) -> WorkerDouble:
    """One that has joined the default pool."""
    worker = WorkerDouble(store, services.storage)
    await worker.join()
    return worker


@pytest.fixture
async def blank(api: Api) -> str:
    """A registered workflow: an empty image of a width, saved under a prefix."""
    assert (await api.post("/v1/workflows", WORKFLOW)).status == 200
    return "blank"
