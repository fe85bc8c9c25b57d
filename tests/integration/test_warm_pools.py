"""Warm pools: models are where jobs will need them before there are jobs, and again after whatever took them away."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orchestrator.controller import warmer
from orchestrator.scheduling import warmth
from orchestrator.simulator.comfyui.faults import Kind
from orchestrator.worker import gauge
from tests.fixtures.comfyui import StartSim, StartSimProcess
from tests.fixtures.failing import always
from tests.fixtures.whole import StartWhole, Whole

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SD15, SDXL = "sd15-txt2img", "sdxl-base-refiner"
FILES = {
    SD15: {"v1-5-pruned-emaonly-fp16.safetensors"},
    SDXL: {"sd_xl_base_1.0.safetensors", "sd_xl_refiner_1.0.safetensors"},
}


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in (
        (gauge, "SETTLE_S", 0.05), (warmer, "LOOK_S", 0.05), (warmer, "IDLE_S", 0.2), (warmth, "LOST_S", 0.05),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, seconds)


def pool(*workflows: str, min_warm: int = 1) -> dict[str, Any]:
    return {"workflows": WORKFLOWS, "pools": {"default": {"warm": workflows, "min_warm": min_warm}}}


async def held(fleet: Whole) -> dict[str, set[str]]:
    """Names of the files in VRAM, by worker."""
    workers = (await fleet.client.get("/v1/residency"))["workers"]
    return {each["worker"]: {model["name"] for model in each["vram"]} for each in workers}


async def warm(fleet: Whole, workflow: str, count: int = 1) -> list[str]:
    """The workers that hold a workflow's models, once there are so many."""

    def enough(found: dict[str, set[str]]) -> bool:
        return sum(FILES[workflow] <= names for names in found.values()) >= count

    found = await fleet.once(lambda: held(fleet), enough, f"{workflow} to be warm on {count}")
    return [worker for worker, names in found.items() if FILES[workflow] <= names]


async def test_a_pool_is_warm_before_there_is_a_job(whole: StartWhole, sim_comfyui: StartSim) -> None:
    one, two = await sim_comfyui(node_pack=True), await sim_comfyui(node_pack=True)
    fleet = await whole({"one": one.url, "two": two.url}, **pool(SDXL, SD15))
    [for_sdxl], [for_sd15] = await warm(fleet, SDXL), await warm(fleet, SD15)
    assert for_sdxl != for_sd15
    assert (await fleet.client.get("/v1/jobs"))["jobs"] == []
    before = dict(one.loads), dict(two.loads)
    job = await fleet.client.post(f"/v1/workflows/{SD15}/jobs?wait=20", {"params": {"prompt": "a fox"}})
    assert job["status"] == "succeeded"
    assert job["runs"][-1]["worker"] == for_sd15
    assert (dict(one.loads), dict(two.loads)) == before  # nothing was loaded for it


async def test_what_was_unloaded_is_brought_back(whole: StartWhole, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(node_pack=True)
    fleet = await whole({"w": sim.url}, **pool(SD15))
    await warm(fleet, SD15)
    await fleet.client.post("/v1/workers/w/free")
    await fleet.once(_loads(sim), lambda loads: loads[0] == 2, "the model to be read again")
    await warm(fleet, SD15)


def _loads(sim: Any) -> Any:
    async def ask() -> list[int]:
        return list(sim.loads.values())

    return ask


async def test_a_comfyui_that_was_killed_is_warmed_again(whole: StartWhole, sim_process: StartSimProcess) -> None:
    sim = await sim_process(node_pack=True)
    port = int(sim.url.rsplit(":", 1)[1])
    fleet = await whole({"w": sim.url}, **pool(SD15))
    await warm(fleet, SD15)
    await sim.kill()
    await fleet.worker_is("w", "down")
    await sim_process(port=port, node_pack=True)
    await fleet.worker_is("w", "ready")
    await warm(fleet, SD15)


async def test_a_warm_up_gives_way_to_a_job(whole: StartWhole, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(node_pack=True, step_seconds=1.0)  # 20 s for the warm-up
    fleet = await whole({"w": sim.url}, **pool(SD15))
    await fleet.once(_loads(sim), bool, "the warm-up to have begun")
    asked_at = asyncio.get_running_loop().time()
    job = await fleet.client.post("/v1/workflows/hello/jobs?wait=20", {"params": {}})
    assert job["status"] == "succeeded"
    assert asyncio.get_running_loop().time() - asked_at < 10
    await fleet.once(_spans(sim), lambda count: count == 2, "both to be over")


def _spans(sim: Any) -> Any:
    async def ask() -> int:
        return len(sim.spans)

    return ask


async def test_what_does_not_fit_is_left_out_and_said(
    whole: StartWhole, sim_comfyui: StartSim, caplog: pytest.LogCaptureFixture
) -> None:
    sim = await sim_comfyui(node_pack=True, vram_bytes=9 << 30)
    fleet = await whole({"w": sim.url}, **pool(SD15, SDXL, "sd15-img2img", "nothing"))
    await warm(fleet, SD15)
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert f"pool default, {SDXL}: it is warm on 0 of 1 workers: no other has room for its models" in said
    assert "pool default, nothing: it is not kept warm: no workflow of that name is registered" in said
    assert "sd15-img2img: it is not kept warm: a warm-up has no file for its param image" in said
    assert set(sim.loads) == {"checkpoints/v1-5-pruned-emaonly-fp16.safetensors"}


async def test_a_warm_up_that_fails_is_noted_and_not_repeated_at_once(whole: StartWhole, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(node_pack=True, faults=(always(Kind.OUT_OF_MEMORY, class_type="KSampler"),))
    fleet = await whole({"w": sim.url}, **pool(SD15))
    worker = await fleet.worker_told("w", f"its warm-up of {SD15} failed")
    assert worker["state"] == "ready"
    tried = len(sim.spans)
    await asyncio.sleep(0.3)  # several looks
    assert len(sim.spans) == tried == 1
