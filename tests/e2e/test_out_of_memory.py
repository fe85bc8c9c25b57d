"""Out of memory in a real ComfyUI: what it says, that it lets go of everything when told to, and what a job is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.comfy.client import ComfyClient
from orchestrator.comfy.memory import MemoryReport
from orchestrator.worker.unload import empty
from tests.fixtures.driving import node
from tests.fixtures.real_comfyui import RealComfyUI, running_comfyui
from tests.fixtures.tiny_models import write_upscaler
from tests.fixtures.whole import StartWhole

pytestmark = pytest.mark.e2e

PACK = Path(__file__).parents[2] / "comfy_nodes"


@pytest.fixture
async def comfyui(tmp_path: Path) -> AsyncIterator[RealComfyUI]:
    write_upscaler(tmp_path / "models/upscale_models/tiny.safetensors")
    async with running_comfyui(tmp_path / "comfyui", packs={"fleet": PACK}, models=tmp_path / "models") as running:
        yield running


def upscaled(color: int) -> dict[str, object]:
    return {
        "1": node("EmptyImage", width=16, height=16, batch_size=1, color=color),
        "2": node("UpscaleModelLoader", model_name="tiny.safetensors"),
        "3": node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "4": node("PreviewImage", images=["3", 0]),
    }


HUGE = {
    "1": node("EmptyImage", width=16384, height=16384, batch_size=4096, color=0),  # 13 TB
    "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
}


async def test_nothing_is_left_in_memory(comfyui: RealComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not the node pack is there to tell: where it is not, that is long enough."""
    async with ComfyClient(comfyui.url) as client:
        for turn in range(6):
            await comfyui.run(upscaled(turn))
            assert (await _report(client)).empty is False
            with monkeypatch.context() as patch:
                if turn % 2:
                    patch.setattr(ComfyClient, "memory", _cannot_tell)
                await empty(client, lambda: pytest.fail("ComfyUI answers"))
            assert (await _report(client)).empty


async def _report(client: ComfyClient) -> MemoryReport:
    report = await client.memory()
    assert report is not None, "the node pack is there"
    return report


async def _cannot_tell(_: ComfyClient) -> None:
    return None


async def test_a_job_that_no_memory_is_enough_for(comfyui: RealComfyUI, whole: StartWhole) -> None:
    fleet = await whole({"w": comfyui.url})
    job = await fleet.ended(await fleet.submit(HUGE, retries=0))
    assert (job["status"], job["error"]["code"]) == ("failed", "out_of_memory")
    assert (job["error"]["node_id"], job["error"]["class_type"]) == ("1", "EmptyImage")
    assert "use a smaller size or batch, or a worker with more" in job["error"]["message"]
    assert comfyui.log.count("!!! Exception during processing !!!") == 2, "once more, with nothing else in memory"
    assert (await fleet.worker("w"))["state"] == "ready"
    job = await fleet.ended(await fleet.submit(upscaled(1)))
    assert job["status"] == "succeeded"
