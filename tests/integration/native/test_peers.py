"""Clients that others wrote for one ComfyUI, as they are on PyPI, each as a process of its own, drive the fleet."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import node
from tests.fixtures.whole import StartWhole, Whole

pytest.importorskip("comfy_cli", reason="comfy-cli is not installed: make setup")

PATIENCE_S = 60.0
GRAPH = {
    "1": {**node("EmptyImage", width=64, height=32, batch_size=1, color=255), "_meta": {"title": "Empty"}},
    "2": {**node("SaveImage", images=["1", 0], filename_prefix="x"), "_meta": {"title": "Save Image"}},
}

SIMPLIFIED = """
import json, sys
from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper
api, workflow = ComfyApiWrapper(sys.argv[1]), ComfyWorkflowWrapper("graph.json")
workflow.set_node_param("Empty", "color", 0x123456)
[(name, content)] = api.queue_and_wait_images(workflow, "Save Image").items()
open("made.png", "wb").write(content)
stored = api.upload_image("made.png")
copy = ComfyWorkflowWrapper({
    "1": {"class_type": "LoadImage", "inputs": {"image": f"{stored['subfolder']}/{stored['name']}"},
          "_meta": {"title": "Load Image"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "copy"},
          "_meta": {"title": "Save Image"}},
})
[(copied, same)] = api.queue_and_wait_images(copy, "Save Image").items()
print(json.dumps({"name": name, "copied": copied, "queue": api.get_queue(), "png": same[:4].hex()}))
"""

SCRIPT = """
import sys
from comfy_script.runtime import *
load(sys.argv[1])
from comfy_script.runtime.nodes import *
with Workflow(wait=True):
    result = SaveImage(EmptyImage(96, 48, 1, 0x336699), 'script')
pictures = result.wait()
print(pictures.wait()[0].size)
"""


async def driven(folder: Path, *command: str) -> str:
    """What the client prints last."""
    environment: Mapping[str, str] = {**os.environ, "HOME": str(folder), "DO_NOT_TRACK": "1"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode().strip().splitlines()[-1]


@pytest.fixture
async def fleet(whole: StartWhole, sim_comfyui: StartSim, tmp_path: Path) -> Whole:
    (tmp_path / "graph.json").write_text(json.dumps(GRAPH))
    return await whole({"w": (await sim_comfyui()).url})


async def test_comfy_api_simplified(fleet: Whole, tmp_path: Path) -> None:
    said: Any = json.loads(await driven(tmp_path, sys.executable, "-c", SIMPLIFIED, fleet.client.url))
    nothing: dict[str, list[Any]] = {"queue_running": [], "queue_pending": []}
    assert said == {"name": "x_00001_.png", "copied": "copy_00001_.png", "queue": nothing, "png": "89504e47"}


async def test_comfy_cli(fleet: Whole, tmp_path: Path) -> None:
    where = urlsplit(fleet.client.url)
    comfy = [sys.executable, "-m", "comfy_cli", "--skip-prompt", "--no-enable-telemetry", "--json"]
    run = ["run", "--workflow", "graph.json", "--host", str(where.hostname), "--port", str(where.port), "--wait"]
    said = json.loads(await driven(tmp_path, *comfy, *run))["data"]
    assert said["status"] == "completed"
    assert (said["executed_node_ids"], said["cached_node_ids"]) == (["1", "2"], [])
    job = await fleet.job(said["prompt_id"])
    assert job["status"] == "succeeded"
    [output] = said["outputs"]
    assert f"filename=x_00001_.png&subfolder=fleet%2F{job['id']}&type=output" in output


async def test_comfy_script(fleet: Whole, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)  # it reads its own source
    assert await driven(tmp_path, sys.executable, "script.py", fleet.client.url) == "(96, 48)"
