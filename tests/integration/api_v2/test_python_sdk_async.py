"""The official Python SDK, asynchronous: the same door, the other half of its code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from comfy_sdk import AsyncComfy, AsyncJob, JobFailed, StatusChange
from comfy_sdk.exceptions import InvalidWorkflow, NotFound

from tests.integration.api_v2.conftest import Door
from tests.integration.api_v2.graphs import early_and_late, loaded, picture, sampled
from tests.integration.api_v2.test_python_sdk import png, told


@pytest.fixture
async def comfy(door: Door) -> AsyncIterator[AsyncComfy]:
    async with AsyncComfy() as client:
        yield client


async def submit(comfy: AsyncComfy, graph: dict[str, Any], **options: Any) -> AsyncJob:
    return await comfy.submit(comfy.workflows.from_json(graph), **options)


async def test_many_at_once(comfy: AsyncComfy, tmp_path: Path) -> None:
    jobs = await asyncio.gather(*(submit(comfy, picture()) for _ in range(8)))
    await asyncio.gather(*(job.result() for job in jobs))
    for job in jobs:
        content = await job.outputs[0].to_bytes()
        assert content.startswith(b"\x89PNG")
        assert (await job.outputs[0].to_file(tmp_path / "x.png")).read_bytes() == content
    assert (await (await comfy.jobs.get(jobs[0].id)).get_workflow()).format == "api"


async def test_events(comfy: AsyncComfy, door: Door) -> None:
    job = await submit(comfy, early_and_late(20))
    events = [event async for event in job.events()]
    assert [event.status for event in events if isinstance(event, StatusChange)][-1] == "succeeded"
    door.needs("OutputReady before the terminal status, at which its client stops to listen")
    assert told(events)[-4:] == ["running", "OutputReady", "OutputReady", "succeeded"]


async def test_assets(comfy: AsyncComfy) -> None:
    asset = comfy.assets.from_bytes(png("navy"), filename="in.png")
    await (await submit(comfy, loaded(asset))).result()
    assert (await comfy.assets.get(str(asset.id))).hash == asset.hash
    await comfy.assets.delete(str(asset.id))
    with pytest.raises(NotFound):
        await comfy.assets.get(str(asset.id))


async def test_cancel_and_failure(comfy: AsyncComfy) -> None:
    job = await submit(comfy, sampled(2000))
    while (await job.refresh()).status == "queued":
        pass
    await job.cancel()
    assert (await job.wait(timeout=30)).status == "canceled"
    with pytest.raises(JobFailed):
        await job.result()
    with pytest.raises(InvalidWorkflow):
        await submit(comfy, {"1": {"class_type": "NoSuchNode", "inputs": {}}})


async def test_labels(comfy: AsyncComfy, door: Door) -> None:
    door.needs("labels")
    made = await submit(comfy, picture(), metadata={"who": door.url})
    assert made.id in [job.id async for job in comfy.list_jobs(metadata={"who": door.url})]
