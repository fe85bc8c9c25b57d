"""What every tier may ask for. Redis is always a real one; each test gets a fleet of its own in it."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.store.embedded import EmbeddedRedis
from orchestrator.store.redis import RedisStore

pytest_plugins = [
    "tests.fixtures.comfyui",
    "tests.fixtures.real_comfyui",
    "tests.fixtures.up",
    "tests.fixtures.whole",
    "tests.fixtures.failing",
    "tests.fixtures.site",
]

# How quickly examples are made and tried says how busy the machine is, and nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_namespaces = itertools.count()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real redis-server, started once: the embedded one, with its production settings."""
    with tempfile.TemporaryDirectory(prefix="fleet-redis-") as folder, asyncio.Runner() as runner:
        server = runner.run(EmbeddedRedis.start(Path(folder)))
        yield server.url
        runner.run(server.stop())


@pytest.fixture
def namespace() -> str:
    return f"t{os.getpid()}-{next(_namespaces)}"


@pytest.fixture
def leases() -> LeaseSettings:
    """Override in a test module for shorter ones."""
    return LeaseSettings()


@pytest.fixture
async def store(redis_url: str, namespace: str, leases: LeaseSettings) -> AsyncIterator[RedisStore]:
    store = await RedisStore.connect(redis_url, namespace, leases, RetentionSettings(), LimitSettings())
    yield store
    await store.close()
