"""The node pack in a real ComfyUI: what it reports is what was really loaded."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.fixtures.real_comfyui import RealComfyUI, eventually, find_comfyui, running_comfyui
from tests.fixtures.tiny_models import write_upscaler

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PACK = Path(__file__).parents[2] / "comfy_nodes"
NAME = "fleet's eyes v1.0"  # nothing that Python would import by
UPSCALER = ("upscale_models", "sub/tiny.safetensors")
SOON_S = 10


@dataclass(frozen=True)
class Setting:
    comfyui: RealComfyUI
    upscaler: Path
    weights: int  # bytes


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def setting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setting]:
    folder = tmp_path_factory.mktemp("node-pack")
    upscaler = folder.joinpath("models", *UPSCALER)
    weights = write_upscaler(upscaler)
    write_upscaler(folder / "models/upscale_models/other.safetensors", seed=1)
    broken = folder / "broken"
    broken.mkdir()
    (broken / "__init__.py").write_text("import a_module_that_nobody_has\n")
    packs = {NAME: PACK, "broken": broken}
    async with running_comfyui(folder / "comfyui", packs=packs, models=folder / "models") as comfyui:
        yield Setting(comfyui, upscaler, weights)


async def test_residency_is_what_was_loaded_until_it_is_freed(setting: Setting) -> None:
    comfyui = setting.comfyui
    before = await comfyui.get("/fleet/residency")
    assert (before["schema"], before["models"], before["cache"]["models"]) == (1, [], [])

    await comfyui.run(upscale(UPSCALER[1]))
    after = await comfyui.get("/fleet/residency")
    [kept] = after["cache"]["models"]
    assert (kept["folder"], kept["name"], kept["kind"]) == (*UPSCALER, "upscale_model")
    assert (kept["bytes"], kept["file_bytes"]) == (setting.weights, setting.upscaler.stat().st_size)
    for model in after["models"]:  # none before ComfyUI managed the memory of upscale models
        assert (model["folder"], model["name"], model["device"]) == (*UPSCALER, "cpu")
        assert model["bytes"] == model["loaded_bytes"] == setting.weights
    assert after["ram"]["total"] > after["ram"]["process"] > setting.weights
    assert after["unavailable"] == {"vram": "this ComfyUI computes on the CPU"}

    await eventually(lambda: freed(comfyui), SOON_S, "freed models to go")


async def test_two_models_are_told_apart(setting: Setting) -> None:
    await setting.comfyui.run(upscale(UPSCALER[1]) | upscale("other.safetensors", first_node=10))
    report = await setting.comfyui.get("/fleet/residency")
    assert {model["name"] for model in report["cache"]["models"]} == {UPSCALER[1], "other.safetensors"}


async def test_inventory_names_what_comfyui_is_made_of(setting: Setting) -> None:
    report = await setting.comfyui.get("/fleet/inventory")
    stats = (await setting.comfyui.get("/system_stats"))["system"]
    assert report["comfyui"]["version"] == stats["comfyui_version"]
    assert (report["python"], report["torch"]) == (stats["python_version"].split()[0], stats["pytorch_version"])
    assert report["packages"]["aiohttp"]
    assert report["devices"][0]["type"] == "cpu"
    directory = find_comfyui().directory
    if (directory / ".git").exists():
        head = subprocess.run(["git", "-C", directory, "rev-parse", "HEAD"], capture_output=True, check=True, text=True)
        assert report["comfyui"]["commit"] == head.stdout.strip()

    packs = {pack["name"]: pack for pack in report["node_packs"]}
    assert packs[NAME]["imported"]
    assert [name for name, pack in packs.items() if pack.get("own")] == [NAME]
    assert not packs["broken"]["imported"]
    assert "a_module_that_nobody_has" in packs["broken"]["error"]


async def test_inventory_hashes_models_in_the_background(setting: Setting) -> None:
    comfyui = setting.comfyui
    entry = listed(await comfyui.get("/fleet/inventory", sha256="1"))
    file = setting.upscaler.stat()
    assert (entry["bytes"], entry["mtime"]) == (file.st_size, pytest.approx(file.st_mtime, abs=1e-6))

    done = await eventually(lambda: all_hashed(comfyui), SOON_S, "models to be hashed")
    assert listed(done)["sha256"] == hashlib.sha256(setting.upscaler.read_bytes()).hexdigest()
    assert done["unavailable"] == {}


async def test_comfyui_has_nothing_to_complain_of(setting: Setting) -> None:
    said = [line for line in setting.comfyui.log.splitlines() if NAME in line or "comfyfleet" in line]
    assert len(said) == 1, said
    assert "seconds: " in said[0]  # to import it


def upscale(model: str, first_node: int = 1) -> dict[str, Any]:
    loader, image, scaled, saved = (str(first_node + offset) for offset in range(4))
    return {
        loader: {"class_type": "UpscaleModelLoader", "inputs": {"model_name": model}},
        image: {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        scaled: {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": [loader, 0], "image": [image, 0]}},
        saved: {"class_type": "SaveImage", "inputs": {"images": [scaled, 0], "filename_prefix": "scaled"}},
    }


def listed(report: dict[str, Any]) -> dict[str, Any]:
    [entry] = [model for model in report["models"] if (model["folder"], model["name"]) == UPSCALER]
    return entry


async def freed(comfyui: RealComfyUI) -> bool:
    """Asks each time: ComfyUI's worker sleeps through a request that comes while it collects garbage after a run."""
    await comfyui.post("/free", {"unload_models": True, "free_memory": True})
    report = await comfyui.get("/fleet/residency")
    return report["models"] == report["cache"]["models"] == []


async def all_hashed(comfyui: RealComfyUI) -> dict[str, Any] | None:
    report = await comfyui.get("/fleet/inventory")
    return report if report["hashing"] == {"done": 2, "total": 2} else None
