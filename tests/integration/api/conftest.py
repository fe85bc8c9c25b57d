"""A controller's API over real sockets, on a real store and real storage, with no worker but those a test plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from orchestrator.api.app import create_app
from orchestrator.api.services import Services
from orchestrator.controller.catalogs import Catalogs
from orchestrator.controller.events import EventHub
from orchestrator.controller.intake import Intake
from orchestrator.controller.node_packs import NodePacks
from orchestrator.controller.registry import Registry
from orchestrator.delivery.local import LocalStorage
from orchestrator.settings import LimitSettings, RetentionSettings
from orchestrator.store.redis import RedisStore
from tests.integration.api.client import WORKFLOW, Api
from tests.integration.api.double import WorkerDouble


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
    intake, packs = Intake(store, registry, catalogs), NodePacks(store, ("/pack/",), "default", "agent")
    yield Services(store, registry, intake, catalogs, events, storage, packs, tmp_path / "users")
    running.cancel()
    await asyncio.wait([running])
    await storage.close()


@pytest.fixture
async def api(services: Services, limits: LimitSettings) -> AsyncIterator[Api]:
    async with TestClient(TestServer(create_app(services, limits, RetentionSettings()))) as http:
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
