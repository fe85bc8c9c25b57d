"""Two workers with different files of one name: what the fleet knows of them, and since when."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from orchestrator.comfy.client import ComfyClient
from orchestrator.simulator.comfyui.routes.pack import sha256
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import eventually, sampled
from tests.fixtures.whole import StartWhole, Whole

CHECKPOINT = "checkpoints/v1-5-pruned-emaonly-fp16.safetensors"


async def held(fleet: Whole, worker: str) -> dict[str, Any] | None:
    """The checkpoint, as that worker holds it."""
    workers = (await fleet.client.get("/v1/residency"))["workers"]
    (models,) = (found["vram"] for found in workers if found["worker"] == worker)
    return next((model for model in models if f"{model['folder']}/{model['name']}" == CHECKPOINT), None)


async def known(fleet: Whole, worker: str) -> str:
    """The digest of the checkpoint that the worker holds, once the fleet knows it."""

    async def digest() -> str | None:
        model = await held(fleet, worker)
        return model["sha256"] if model else None

    return await eventually(digest, f"the digest of what {worker} holds")


async def test_the_same_name_with_other_bytes_is_another_model(whole: StartWhole, sim_comfyui: StartSim) -> None:
    weights = {"one": {CHECKPOINT: "one"}, "two": {CHECKPOINT: "two"}}
    sims = {name: await sim_comfyui(node_pack=True, weights=weights[name]) for name in weights}
    fleet = await whole({name: sim.url for name, sim in sims.items()})
    for name in sims:
        await fleet.prefer(name, sampled(steps=1))
    for name, sim in sims.items():
        assert await known(fleet, name) == sha256(CHECKPOINT, weights[name])
        assert sim.loads[CHECKPOINT] == 1, "each loaded its own"
    job = await fleet.ended(await fleet.submit(sampled(steps=2)))
    assert job["runs"][0]["placement"]["load_s"] == 0


async def test_doctor_names_the_file_the_workers_and_the_digests(sim_comfyui: StartSim, tmp_path: Path) -> None:
    entries: list[dict[str, str]] = []
    for name in ("one", "two", "else"):
        sim = await sim_comfyui(node_pack=True, weights={CHECKPOINT: name})
        async with ComfyClient(sim.url) as client:
            await client.inventory([CHECKPOINT])
        entries.append({"id": name, "url": sim.url, "pool": "other" if name == "else" else "default"})
    (tmp_path / "fleet.yaml").write_text(json.dumps({"workers": entries, "data_dir": str(tmp_path / "data")}))
    doctor = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator", "doctor", "--json", "--config", tmp_path / "fleet.yaml",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await doctor.communicate()
    assert doctor.returncode == 1
    (finding,) = (finding for finding in json.loads(said) if not finding["ok"])
    one, two = (sha256(CHECKPOINT, {CHECKPOINT: name})[:12] for name in ("one", "two"))
    assert finding["subject"] == f"model {CHECKPOINT}"
    assert f"of pool default: sha256 {one} on one; sha256 {two} on two. Jobs that name it" in finding["words"]


async def test_without_the_node_pack_names_alone_are_known(whole: StartWhole, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    fleet = await whole({"w": sim.url})
    assert (await fleet.ended(await fleet.submit(sampled(steps=1))))["status"] == "succeeded"
    model = await held(fleet, "w")
    assert model is not None
    assert (model["size_bytes"], model["sha256"]) == (2_133_000_000, None)
