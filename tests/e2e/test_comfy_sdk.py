"""The official Python SDK through a fleet in front of a real ComfyUI, with graphs that need no model."""

from __future__ import annotations

import asyncio
import io

import pytest
from blake3 import blake3
from comfy_sdk import Comfy, JobFailed, OutputReady, StatusChange
from comfy_sdk.exceptions import InvalidWorkflow
from PIL import Image

from tests.fixtures.real_comfyui import StartRealComfyUI
from tests.fixtures.up import Node, Up, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def step(class_type: str, **inputs: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs}


def picture(color: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (32, 16), color).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
async def up(node: Node, real_comfyui: StartRealComfyUI, monkeypatch: pytest.MonkeyPatch) -> Up:
    comfyui = await real_comfyui()
    node.configure(workers=[{"id": "real", "url": comfyui.url}])
    up = await node.up()

    async def ready() -> bool:
        return (await up.fleet.get("/readyz"))["workers_ready"] == 1

    await until(ready, "the worker to be ready")
    monkeypatch.setenv("COMFY_BASE_URL", up.fleet.url)
    return up


async def test_what_the_sdk_does_on_a_real_comfyui(up: Up) -> None:
    await asyncio.to_thread(drive)


def drive() -> None:
    """Synchronous, as most programs are that use it."""
    with Comfy() as comfy:
        asset = comfy.assets.from_bytes(picture("white"), filename="in.png")
        graph = {
            "1": step("LoadImage", image=asset),
            "2": step("ImageInvert", image=["1", 0]),
            "3": step("SaveImage", images=["2", 0], filename_prefix="inverted"),
            "4": step("SaveImage", images=["1", 0], filename_prefix="as-it-was"),
        }
        job = comfy.submit(comfy.workflows.from_json(graph), metadata={"test": "e2e"})
        events = list(job.events())
        told = [event for event in events if isinstance(event, StatusChange | OutputReady)]
        assert [type(event).__name__ for event in told[-3:]] == ["OutputReady", "OutputReady", "StatusChange"]
        job.result()
        colors = {}
        for output in job.outputs:
            content = output.to_bytes()
            assert len(content) == output.size_bytes
            assert comfy.assets.get(output.id).hash == f"blake3:{blake3(content).hexdigest()}"
            colors[output.node_id] = Image.open(io.BytesIO(content)).convert("RGB").getpixel((0, 0))
        assert colors == {"3": (0, 0, 0), "4": (255, 255, 255)}
        assert [each.id for each in comfy.list_jobs(metadata={"test": "e2e"})] == [job.id]

        chained = {
            "1": step("LoadImage", image={"__type": "core/ASSET", "info": {"id": job.get_outputs("3")[0].id}}),
            "2": step("SaveImage", images=["1", 0], filename_prefix="again"),
        }
        again = comfy.run(comfy.workflows.from_json(chained))
        assert Image.open(io.BytesIO(again.outputs[0].to_bytes())).convert("RGB").getpixel((0, 0)) == (0, 0, 0)

        with pytest.raises(InvalidWorkflow):
            comfy.submit(comfy.workflows.from_json({"1": step("NoSuchNode")}))
        nothing = comfy.assets.from_bytes(b"no picture", filename="x.txt")
        broken = {"1": step("LoadImage", image=nothing), "4": graph["4"]}
        with pytest.raises(JobFailed) as failure:
            comfy.run(comfy.workflows.from_json(broken))
        assert (failure.value.error.class_type, failure.value.error.node_id) == ("LoadImage", "1")
        assert "load_image" in failure.value.error.traceback
