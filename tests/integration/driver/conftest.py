"""A driver between a real store and a simulated ComfyUI: whatever happens to a run, the store knows how it ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.delivery.local import LocalStorage
from orchestrator.domain.needs import ModelRef
from orchestrator.settings import LeaseSettings
from orchestrator.store.redis import RedisStore
from tests.fixtures.driving import (
    Fleet,
)

CHECKPOINT = ModelRef("checkpoints", "v1-5-pruned-emaonly-fp16.safetensors")


@pytest.fixture
def leases() -> LeaseSettings:
    return LeaseSettings(worker_s=3.0, heartbeat_s=0.1)


@pytest.fixture
async def fleet(store: RedisStore, leases: LeaseSettings, tmp_path: Path) -> AsyncIterator[Fleet]:
    storage = LocalStorage(tmp_path / "storage")
    yield Fleet(store, storage, leases)
    await storage.close()
