"""A key that a job brings for partners' nodes: it reaches ComfyUI, and lies nowhere in clear on its way there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from redis.asyncio import Redis

from orchestrator.comfy.client import ComfyClient
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import picture
from tests.fixtures.whole import StartWhole

SECRET = "comfyui-8d1f0c5a"
DOORS: Mapping[str, tuple[str, str, str]] = {
    "comfy api v2": ("/api/v2/jobs", "workflow", "id"),
    "comfyui": ("/prompt", "prompt", "prompt_id"),
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The extra_data that ComfyUIs are sent."""
    seen: list[Any] = []
    prompt = ComfyClient.prompt

    async def watched(self: ComfyClient, *args: Any) -> None:
        seen.append(args[4])
        await prompt(self, *args)

    monkeypatch.setattr(ComfyClient, "prompt", watched)
    return seen


async def stored(redis_url: str, namespace: str) -> bytes:
    """All that the fleet has in Redis, as a backup would."""
    async with Redis.from_url(redis_url) as redis:
        found = b""
        async for key in redis.scan_iter(f"{namespace}:*"):
            kind = await redis.type(key)
            match kind:
                case b"hash":
                    found += repr(await redis.hgetall(key)).encode()
                case b"stream":
                    found += repr(await redis.xrange(key)).encode()
                case b"string":
                    found += await redis.get(key) or b""
                case _:
                    assert kind == b"zset"
        return found


@pytest.mark.parametrize("door", DOORS)
async def test_it_reaches_comfyui_and_is_seen_nowhere(
    whole: StartWhole, sim_comfyui: StartSim, given: list[Any], redis_url: str, namespace: str, door: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    fleet = await whole({"w": (await sim_comfyui()).url})
    path, graph, named = DOORS[door]
    await fleet.client.post("/v1/workers/w/drain")
    extra = {"api_key_comfy_org": SECRET}
    job_id = (await fleet.client.post(path, {graph: picture(), "extra_data": extra}))[named]

    waiting = await stored(redis_url, namespace)
    assert b"sealed" in waiting
    assert SECRET.encode() not in waiting
    await fleet.client.post("/v1/workers/w/resume")
    assert (await fleet.ended(job_id))["status"] == "succeeded"
    assert [sent["api_key_comfy_org"] for sent in given] == [SECRET]
    after = await stored(redis_url, namespace)
    assert b"sealed" not in after
    assert SECRET.encode() not in after
    assert SECRET not in caplog.text
    assert SECRET not in str(await fleet.client.get(f"/api/v2/jobs/{job_id}"))
