"""What a driver makes of runs that fail, run out of time, or are canceled."""

from __future__ import annotations

import aiohttp
import pytest

from orchestrator.domain.job import JobStatus
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.run import RunState
from orchestrator.worker import execution
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import (
    Fleet,
    Gate,
    asset_input,
    eventually,
    holds,
    node,
    picture,
    queued,
    sampled,
)

CHECKPOINT = ModelRef("checkpoints", "v1-5-pruned-emaonly-fp16.safetensors")


# --- runs that fail ---


async def test_a_node_that_fails_fails_the_job(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    asset = await fleet.upload(b"no picture at all", "x.png")
    graph = {
        "1": node("LoadImage", image=asset_input(asset)),
        "2": node("SaveImage", images=["1", 0], filename_prefix="p"),
    }
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job = await fleet.job(await fleet.submit(graph, "w"))
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert (job.error.code, job.error.node_id, job.error.class_type) == ("node_failed", "1", "LoadImage")
        assert job.error.traceback
        assert (await fleet.job(await fleet.submit(picture(), "w"))).status is JobStatus.SUCCEEDED


async def test_a_model_that_is_missing_here_may_be_elsewhere(fleet: Fleet, sim_comfyui: StartSim) -> None:
    poor = await sim_comfyui(models={"checkpoints": {"other.safetensors": 1000}})
    rich = await sim_comfyui()
    async with fleet.agent(("poor", poor.url), ("rich", rich.url)):
        await fleet.worker("poor")
        await fleet.worker("rich")
        job_id = await fleet.submit(sampled(steps=1), "poor")
        lost = await fleet.run_in(job_id, RunState.LOST)
        assert lost.outcome is not None
        assert CHECKPOINT.name in lost.outcome
        assert f"expected as models/checkpoints/{CHECKPOINT.name}" in lost.outcome
        await fleet.run_in(job_id, RunState.QUEUED, attempt=2)
        await fleet.assign(job_id, "rich")
        assert (await fleet.job(job_id)).status is JobStatus.SUCCEEDED


async def test_a_graph_of_which_comfyui_would_drop_a_part_fails_and_does_not_run_on(
    fleet: Fleet, sim_comfyui: StartSim
) -> None:
    sim = await sim_comfyui(step_seconds=0.1)
    graph = sampled(steps=50) | {"10": node("PreviewImage")}  # without its input
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job = await fleet.job(await fleet.submit(graph, "w"))
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert (job.error.code, job.error.node_id) == ("invalid_prompt", "10")
        assert await queued(sim.url) == []


async def test_time_that_is_up(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.05)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        slow = await fleet.submit(sampled(steps=1000), "w", timeout_s=0.3)
        behind = await fleet.submit(picture(), "w", timeout_s=0.3)
        job = await fleet.job(slow)
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert job.error.code == "timeout"
        assert "0.3" in job.error.message
        assert (await fleet.job(behind)).status is JobStatus.SUCCEEDED


async def test_a_node_that_does_not_stop_costs_the_worker_until_it_does(
    fleet: Fleet, sim_comfyui: StartSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "HALT_GRACE_S", 0.2)
    sim = await sim_comfyui(step_seconds=2.0)  # and interrupts are heeded between steps
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        stubborn = await fleet.submit(sampled(steps=2), "w", timeout_s=0.2)
        behind = await fleet.submit(picture(), "w")
        job = await fleet.job(stubborn)
        assert job.error is not None
        assert job.error.code == "timeout"
        returned = await fleet.run_in(behind, RunState.LOST)
        assert returned.outcome is not None
        assert "does not stop when it is told to" in returned.outcome
        await fleet.worker("w")
        assert await queued(sim.url) == []


async def test_somebody_else_interrupts(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=500), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
        async with aiohttp.ClientSession() as http:
            await http.post(f"{sim.url}/interrupt")
        lost = await fleet.run_in(job_id, RunState.LOST)
        assert lost.outcome == f"somebody else interrupted it on {sim.url}"


# --- cancel ---


async def test_cancel_of_what_executes_hits_nothing_else(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        executing = await fleet.submit(sampled(steps=2000), "w")
        behind = await fleet.submit(sampled(steps=2), "w")
        await fleet.job(executing, JobStatus.RUNNING)
        await fleet.store.cancel(executing)
        job = await fleet.job(executing)
        assert job.status is JobStatus.CANCELED
        assert job.runs[0].id not in await queued(sim.url)
        assert (await fleet.job(behind)).status is JobStatus.SUCCEEDED
        assert fleet.stored_runs() == {(await fleet.store.job(behind)).runs[0].id}


@pytest.mark.parametrize("version", ["0.33.0", "0.3.64"])
async def test_cancel_of_what_waits_on_comfyui(fleet: Fleet, sim_comfyui: StartSim, version: str) -> None:
    sim = await sim_comfyui(step_seconds=0.02, version=version)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        executing = await fleet.submit(sampled(steps=40), "w")
        waiting = await fleet.submit(sampled(steps=41), "w")
        await eventually(lambda: holds(sim.url, 2), "both to be on ComfyUI")
        await fleet.store.cancel(waiting)
        assert (await fleet.job(waiting)).status is JobStatus.CANCELED
        assert (await fleet.job(executing)).status is JobStatus.SUCCEEDED
        assert len(sim.spans) == 1


async def test_cancel_on_an_old_version(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02, version="0.3.64")
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=2000), "w")
        await fleet.job(job_id, JobStatus.RUNNING)
        await fleet.store.cancel(job_id)
        assert (await fleet.job(job_id)).status is JobStatus.CANCELED
        assert await queued(sim.url) == []


async def test_cancel_while_outputs_are_collected(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    gate = Gate(fleet.storage)
    async with fleet.agent(("w", sim.url), storage=gate):
        await fleet.worker("w")
        job_id = await fleet.submit(picture(), "w")
        await gate.waiting.wait()
        await fleet.store.cancel(job_id)
        assert (await fleet.job(job_id)).status is JobStatus.CANCELED
        assert fleet.stored_runs() == set()


async def test_cancel_before_the_driver_has_begun(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        jobs = [await fleet.submit(picture(color)) for color in range(5)]
        for job_id in jobs:
            await fleet.assign(job_id, "w")
            await fleet.store.cancel(job_id)
        ended = [await fleet.job(job_id) for job_id in jobs]
        assert {job.status for job in ended} <= {JobStatus.CANCELED, JobStatus.SUCCEEDED}
        assert await queued(sim.url) == []
        kept = {job.runs[0].id for job in ended if job.status is JobStatus.SUCCEEDED}
        await eventually(lambda: fleet.stored_runs() == kept, "what was canceled to leave no files")
