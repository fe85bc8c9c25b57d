"""ComfyUI's own API, from a real ComfyUI and from the fleet in front of it: the same clients, the same messages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.contract.driver import Driver
from tests.contract.test_simulator import differences
from tests.fixtures.driving import node
from tests.fixtures.real_comfyui import StartRealComfyUI
from tests.fixtures.whole import StartWhole
from tests.integration.native.test_messages import FreshDriver, heard
from tests.integration.native.test_peers import GRAPH, SCRIPT, SIMPLIFIED, driven

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def graph(color: int) -> dict[str, Any]:
    """A picture inverted, scaled, saved and shown; nothing of it was executed before with another colour."""
    scale = {"upscale_method": "nearest-exact", "width": 48, "height": 24, "crop": "disabled"}
    return {
        "1": node("EmptyImage", width=96, height=48, batch_size=1, color=color),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("ImageScale", image=["2", 0], **scale),
        "4": node("SaveImage", images=["3", 0], filename_prefix="e2e/x"),
    }


async def converse(driver: Driver, color: int) -> None:
    await driver.connect("c", "c")
    await driver.run(graph(color), "c")
    await driver.run(graph(color + 1), "c", extra_data={"extra_pnginfo": {"workflow": {"id": "w"}}})
    text = {"1": node("PrimitiveString", value=str(color)), "2": node("PreviewAny", source=["1", 0])}
    await driver.run(text, "c")
    await driver.run(graph(color + 2), "c", partial_execution_targets=["4"])


def same(transcript: list[Any]) -> list[Any]:
    """What the sockets heard, but for the words that differ on purpose."""
    return json.loads(json.dumps(heard(transcript)).replace('"65536"', '"TEXT"').replace('"131072"', '"TEXT"'))


async def test_messages_and_clients(whole: StartWhole, real_comfyui: StartRealComfyUI, tmp_path: Path) -> None:
    """In one test, as a start takes half a minute."""
    comfyui = await real_comfyui()
    async with aiohttp.ClientSession(comfyui.url) as session, FreshDriver(session, "real") as alone:
        await converse(alone, 65536)
    fleet = await whole({"w": comfyui.url})
    async with aiohttp.ClientSession(fleet.client.url) as session, FreshDriver(session, "real") as through:
        await converse(through, 131072)
    assert list(differences(same(alone.transcript), same(through.transcript))) == []

    (tmp_path / "graph.json").write_text(json.dumps(GRAPH))
    (tmp_path / "script.py").write_text(SCRIPT)
    said = json.loads(await driven(tmp_path, sys.executable, "-c", SIMPLIFIED, fleet.client.url))
    assert (said["copied"], said["png"]) == ("copy_00001_.png", "89504e47")
    assert await driven(tmp_path, sys.executable, "script.py", fleet.client.url) == "(96, 48)"
    where = urlsplit(fleet.client.url)
    comfy = [sys.executable, "-m", "comfy_cli", "--skip-prompt", "--no-enable-telemetry", "--json"]
    run = ["run", "--workflow", "graph.json", "--host", str(where.hostname), "--port", str(where.port), "--wait"]
    assert json.loads(await driven(tmp_path, *comfy, *run))["data"]["status"] == "completed"
