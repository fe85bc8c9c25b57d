"""The whole fleet in front of two real ComfyUIs on the CPU: a model-free graph, an image input, a real model.

The one thing that the simulated ComfyUI cannot show: that ComfyUI itself takes what we send and gives what we expect.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.cli.client import FleetClient
from tests.fixtures.real_comfyui import StartRealComfyUI
from tests.fixtures.tiny_models import write_upscaler
from tests.fixtures.up import DEADLINE_S, Node, Up, until

WORKFLOWS = Path(__file__).parents[2] / "workflows"
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture
async def up(node: Node, real_comfyui: StartRealComfyUI, tmp_path: Path) -> Up:
    """A fleet of two real ComfyUIs that both have a small real upscaler under the name that the workflow wants."""
    models = tmp_path / "models"
    write_upscaler(models / "upscale_models" / "RealESRGAN_x4plus.safetensors", scale=4)
    comfyuis = await asyncio.gather(*(real_comfyui(models=models) for _ in range(2)))
    node.configure(
        workers=[{"id": name, "url": comfyui.url} for name, comfyui in zip("ab", comfyuis, strict=True)],
        workflows=str(WORKFLOWS),
    )
    return await node.up()


async def run(fleet: FleetClient, workflow: str, **params: Any) -> dict[str, Any]:
    job = await fleet.post(f"/v1/workflows/{workflow}/jobs?wait={int(DEADLINE_S)}", {"params": params})
    assert job["status"] == "succeeded", job["error"]
    return job


async def picture(fleet: FleetClient, job: dict[str, Any], folder: Path) -> Image.Image:
    [output] = job["outputs"]
    size = await fleet.download(output["url"], folder / job["id"])
    assert size == output["size_bytes"]
    image = Image.open(io.BytesIO((folder / job["id"]).read_bytes()))
    assert image.size == (output["width"], output["height"])
    return image


async def test_what_people_run_runs_on_real_comfyuis(up: Up, tmp_path: Path) -> None:
    fleet = up.fleet

    async def both_ready() -> bool:
        workers = (await fleet.get("/v1/workers"))["workers"]
        return [worker["state"] for worker in workers] == ["ready", "ready"]

    await until(both_ready, "both workers to be ready")

    hello = await run(fleet, "hello", width=96, height=64, color=0x336699)
    image = await picture(fleet, hello, tmp_path)
    assert (image.size, image.convert("RGB").getpixel((0, 0))) == ((96, 64), (0x33, 0x66, 0x99))

    Image.new("RGB", (32, 24), (10, 20, 30)).save(tmp_path / "small.png")
    asset = (await fleet.upload(tmp_path / "small.png"))["id"]
    inverted = await picture(fleet, await run(fleet, "image-invert", image=asset), tmp_path)
    assert inverted.convert("RGB").getpixel((0, 0)) == (245, 235, 225)

    enlarged = await run(fleet, "image-upscale", image=asset, final_scale=0.25)
    assert (await picture(fleet, enlarged, tmp_path)).size > (32, 24)
    worker = enlarged["runs"][0]["worker"]
    again = await run(fleet, "image-upscale", image=asset, final_scale=0.25)
    assert again["runs"][0]["worker"] == worker  # where the model is
    residency = await fleet.get("/v1/residency")
    assert "RealESRGAN_x4plus.safetensors" in str(residency)

    await check_many(fleet, tmp_path)


async def check_many(fleet: FleetClient, folder: Path) -> None:
    """Many small jobs keep both workers busy, and each gets its own picture. Here, as a start takes half a minute."""
    submitted = await asyncio.gather(
        *(fleet.post("/v1/workflows/hello/jobs", {"params": {"color": color}}) for color in range(60))
    )

    async def all_done() -> bool:
        page = await fleet.get("/v1/jobs", limit=100)
        return {job["status"] for job in page["jobs"]} == {"succeeded"}

    await until(all_done, "every job to succeed")
    jobs = [await fleet.get(f"/v1/jobs/{job['id']}") for job in submitted]
    assert {job["runs"][0]["worker"] for job in jobs} == {"a", "b"}
    for color, job in enumerate(jobs):
        pixel = (await picture(fleet, job, folder)).convert("RGB").getpixel((0, 0))
        assert pixel == (color >> 16, color >> 8 & 255, color & 255)
