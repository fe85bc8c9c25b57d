"""A real ComfyUI whose lock names a model that is on no disk: fetched for the run that needs it, and loaded at once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.client import FleetClient
from orchestrator.pins import document, state
from orchestrator.pins.draft import draft
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.lock import Model
from orchestrator.pins.observe import observe
from orchestrator.pins.state import State
from tests.fixtures.pinned import git
from tests.fixtures.real_comfyui import Installation, find_comfyui
from tests.fixtures.tiny_models import write_upscaler
from tests.fixtures.up import Node, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "upscale_models/sub/tiny.safetensors"


def upscaled() -> dict[str, Any]:
    def node(class_type: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    return {
        "1": node("EmptyImage", width=32, height=32, batch_size=1, color=7),
        "2": node("UpscaleModelLoader", model_name=NAME.partition("/")[2]),
        "3": node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="large"),
    }


def locked(root: Path, installation: Installation, source: Path) -> tuple[Path, Path]:
    """A ComfyUI's folder and its lock, as if provision had made it from the packages that there are."""
    folder, file = root / "comfyui", root / "prod.lock.yaml"
    own = {".git", ".venv", "venv", "custom_nodes", "models", "input", "output", "temp", "user"}
    shutil.copytree(
        installation.directory, folder, ignore=lambda at, _: own if Path(at) == installation.directory else ()
    )
    for name in ("custom_nodes", "models/upscale_models"):
        (folder / name).mkdir(parents=True)
    git(folder, "init", "--quiet")
    git(folder, "remote", "add", "origin", "https://example.com/ComfyUI.git")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "ComfyUI")
    seen = observe(folder, installation.python, Hashes(root / "hashes.json"))
    lock = draft(seen, dict.fromkeys(seen.packages or {}, ("0" * 64,)), allow_pickle=False)
    content = source.read_bytes()
    model = Model(sha256(content).hexdigest(), len(content), (source.name,))
    file.write_text(document.dump(replace(lock, models={NAME: model})))
    state.write(folder, State())
    return folder, file


async def test_a_real_comfyui_loads_what_was_fetched_since_it_was_started(node: Node, tmp_path: Path) -> None:
    installation = find_comfyui()
    source = tmp_path / "tiny.safetensors"
    write_upscaler(source)
    folder, file = locked(tmp_path, installation, source)
    entry = {"comfyui": str(folder), "python": str(installation.python), "devices": ["cpu"], "lock": str(file)}
    node.configure(workers=[entry])
    fleet = (await node.up()).fleet
    await until(lambda: ready(fleet), "the worker to be ready")
    (named,) = (await fleet.get("/v1/residency"))["models"]
    assert (f"{named['folder']}/{named['name']}", named["disk"], len(named["remote"])) == (NAME, [], 1)
    job = await fleet.post("/v1/jobs", {"workflow": upscaled()})
    await until(lambda: ended(fleet, job["id"]), "the job to end")
    job = await fleet.get(f"/v1/jobs/{job['id']}")
    assert job["status"] == "succeeded", job["error"]
    assert (job["outputs"][0]["width"], len(job["runs"])) == (64, 1)
    assert (folder / "models" / NAME).read_bytes() == source.read_bytes()
    (named,) = (await fleet.get("/v1/residency"))["models"]
    assert named["remote"] == []


async def ready(fleet: FleetClient) -> bool:
    workers = (await fleet.get("/v1/workers"))["workers"]
    assert all(worker["state"] != "quarantined" for worker in workers), workers
    return [worker["state"] for worker in workers] == ["ready"]


async def ended(fleet: FleetClient, job_id: str) -> bool:
    return (await fleet.get(f"/v1/jobs/{job_id}"))["status"] not in ("queued", "running")
