"""Workflows and assets in the store, on a real Redis."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.domain.asset import Asset, asset_id
from orchestrator.domain.job import JobStatus
from orchestrator.domain.workflow import Workflow
from orchestrator.errors import Busy, Conflict, NotFound
from orchestrator.store.redis import RedisStore
from tests.fixtures.stored import submission


def workflow(digest: str, name: str = "w") -> Workflow:
    return Workflow(name=name, version=0, digest=digest, graph={"1": {}}, params={"type": "object"}, bind={})


async def test_equal_content_is_the_same_version(store: RedisStore) -> None:
    assert (await store.register_workflow(workflow("a"))).version == 1
    assert (await store.register_workflow(workflow("b"))).version == 2
    assert (await store.register_workflow(workflow("a"))).version == 1
    assert await store.workflows() == {"w": 2}
    await store.activate("w", 1)
    assert (await store.workflow("w")).digest == "a"
    assert [one.version for one in await store.versions("w")] == [1, 2]
    for missing in (store.workflow("x"), store.workflow("w", 9), store.activate("w", 9), store.versions("x")):
        with pytest.raises(NotFound):
            await missing


async def test_a_job_gets_the_version_that_is_active_when_it_comes(store: RedisStore) -> None:
    await store.register_workflow(workflow("a"))
    await store.register_workflow(workflow("b"))
    with pytest.raises(Conflict, match="not the active one"):
        await store.submit(submission(workflow="w", version=1, if_active=True))
    await store.submit(submission(workflow="w", version=1))  # asked for by number
    await store.submit(submission(workflow="w", version=2, if_active=True))
    assert (await store.counts()).jobs[JobStatus.QUEUED] == 2


async def test_unused_assets_lapse_in_two_steps(store: RedisStore) -> None:
    asset = Asset(asset_id("ab" * 32), "blake3:" + "ab" * 32, 3, "image/png", "cat.png", 1.0)
    assert await store.put_asset(asset) == asset
    assert await store.put_asset(dataclasses.replace(asset, name="dog.png")) == asset
    assert await store.lapsed_assets(3600) == []
    assert await store.lapsed_assets(-1) == [asset]
    assert await store.lapsed_assets(-1) == [asset]  # a sweep that was cut off is taken up again
    with pytest.raises(NotFound):
        await store.asset(asset.id)
    with pytest.raises(Busy):
        await store.put_asset(asset)
    await store.swept_asset(asset.id)
    assert await store.lapsed_assets(-1) == []
    assert await store.put_asset(asset) == asset
    assert await store.asset(asset.id) == asset
