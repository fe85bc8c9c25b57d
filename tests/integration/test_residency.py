"""What a worker holds, as its node pack measures it and the store is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.delivery.local import LocalStorage
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import Residency
from orchestrator.settings import LeaseSettings
from orchestrator.simulator.comfyui import RunningSim
from orchestrator.store.port import Mail, MailKind
from orchestrator.store.redis import RedisStore
from orchestrator.worker import gauge
from orchestrator.worker.residency import NO_PACK
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import Fleet, Graph, eventually, node, picture, sampled

GIB = 1 << 30
CHECKPOINT = ModelRef("checkpoints", "v1-5-pruned-emaonly-fp16.safetensors")
SDXL = ModelRef("checkpoints", "sd_xl_base_1.0.safetensors")


@pytest.fixture
async def fleet(store: RedisStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    monkeypatch.setattr(gauge, "SETTLE_S", 0.05)
    storage = LocalStorage(tmp_path / "storage")
    yield Fleet(store, storage, LeaseSettings(worker_s=3.0, heartbeat_s=0.1))
    await storage.close()


async def told(fleet: Fleet, *, source: str = "measured", **tiers: set[ModelRef]) -> Residency:
    """What the store has of the worker, once it is that."""

    async def reached() -> Residency | None:
        residency = (await fleet.store.worker("w")).residency
        as_wanted = all(set(getattr(residency, tier)) == models for tier, models in tiers.items())
        return residency if as_wanted and residency.source == source else None

    return await eventually(reached, f"{tiers}, {source}")


def with_sdxl(steps: int = 1) -> Graph:
    graph = sampled(steps)
    return {**graph, "4": node("CheckpointLoaderSimple", ckpt_name=SDXL.name)}


def in_vram(sim: RunningSim) -> dict[ModelRef, int]:
    """Bytes by file, as the simulated ComfyUI keeps account of them."""
    return {ModelRef(*file.split("/", 1)): size for file, size in sim.vram.items()}


async def test_what_is_told_is_what_comfyui_holds(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(node_pack=True, ram_bytes=256 * GIB)  # with less it keeps one prompt's models
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        await told(fleet, vram=set(), ram=set())
        await fleet.job(await fleet.submit(sampled(1), "w"))
        await fleet.job(await fleet.submit(with_sdxl(), "w"))
        residency = await told(fleet, vram={CHECKPOINT, SDXL})
        assert residency.held == in_vram(sim)
        assert (residency.sizes[SDXL], residency.why) == (6_938_000_000, "")

        await fleet.store.post(Mail(MailKind.FREE, "w"))
        await told(fleet, vram=set(), ram=set())
        assert in_vram(sim) == {}


async def test_what_comfyui_gave_up_by_itself_is_seen(fleet: Fleet, sim_comfyui: StartSim) -> None:
    """Inference would have the checkpoint in VRAM still."""
    sim = await sim_comfyui(node_pack=True)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        await fleet.job(await fleet.submit(sampled(1), "w"))
        await told(fleet, vram={CHECKPOINT})
        async with aiohttp.ClientSession() as http:
            await http.post(f"{sim.url}/free", json={"unload_models": True, "free_memory": True})
        await fleet.job(await fleet.submit(picture(), "w"))
        await told(fleet, vram=set(), ram=set())


async def test_what_the_pack_cannot_read_is_inferred_and_says_why(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(node_pack=True, node_pack_gaps={"models": "current_loaded_models is gone"})
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        await fleet.job(await fleet.submit(sampled(1), "w"))
        residency = await told(fleet, source="inferred", vram={CHECKPOINT})
        assert residency.why == "models: current_loaded_models is gone"


async def test_without_a_pack_nothing_is_asked_after_the_first_time(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        for _ in range(3):
            await fleet.job(await fleet.submit(sampled(1), "w"))
        residency = await told(fleet, source="inferred", vram={CHECKPOINT})
        assert residency.why == NO_PACK


async def test_a_comfyui_that_was_started_anew_holds_nothing(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    port = int(sim.url.rsplit(":", 1)[1])
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        await fleet.job(await fleet.submit(sampled(1), "w"))
        await told(fleet, source="inferred", vram={CHECKPOINT})
        await sim.stop()
        await sim_comfyui(port=port)
        await told(fleet, source="inferred", vram=set(), ram=set())
        await fleet.worker("w")


async def test_what_a_comfyui_held_is_not_forgotten_with_the_agent(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        await told(fleet, source="inferred", vram=set())
        assert (await fleet.store.worker("w")).residency.why == NO_PACK
        await fleet.job(await fleet.submit(sampled(1), "w"))
    async with fleet.agent(("w", sim.url), name="another"):
        await fleet.worker("w")
        await fleet.job(await fleet.submit(with_sdxl(), "w"))
        await told(fleet, source="inferred", vram={CHECKPOINT, SDXL})


async def test_what_is_measured_while_a_run_loads_does_not_hide_that_it_did(
    fleet: Fleet, sim_comfyui: StartSim
) -> None:
    """The seconds of loading would be learned as execution otherwise."""
    sim = await sim_comfyui(node_pack=True, step_seconds=0.05)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        short = await fleet.submit(picture(), "w")
        long = await fleet.submit(with_sdxl(steps=20), "w")
        await fleet.job(short)
        await told(fleet, vram={SDXL})  # it is in memory, and its run goes on
        (run,) = (await fleet.job(long)).runs
        assert run.load_s is not None and run.load_s > 0.9


async def test_a_worker_that_answers_nonsense_about_its_memory_is_inferred(
    fleet: Fleet, sim_comfyui: StartSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = await sim_comfyui(node_pack=True)

    def nonsense(_: object) -> Any:
        raise KeyError("models")

    monkeypatch.setattr("orchestrator.comfy.client.parse_memory", nonsense)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        await fleet.job(await fleet.submit(sampled(1), "w"))
        residency = await told(fleet, source="inferred", vram={CHECKPOINT})
        assert "/fleet/residency does not answer as a ComfyUI does" in residency.why
