"""A driver between a real store and a simulated ComfyUI: whatever happens to a run, the store knows how it ended."""

from __future__ import annotations

import io
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from blake3 import blake3
from PIL import Image, ImageOps

from orchestrator.comfy import client
from orchestrator.delivery.keys import asset_key
from orchestrator.delivery.local import LocalStorage
from orchestrator.delivery.media import HEAD_BYTES
from orchestrator.domain.asset import MediaType
from orchestrator.domain.event import EventType
from orchestrator.domain.job import JobError, JobStatus
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.run import RunState
from orchestrator.domain.worker import WorkerState
from orchestrator.errors import Busy
from orchestrator.settings import LeaseSettings
from orchestrator.store.port import Assignment, Result, RunKey
from orchestrator.store.redis import RedisStore
from orchestrator.worker import execution, monitor
from tests.fixtures.comfyui import StartSim, StartSimProcess
from tests.fixtures.driving import Brink, Fleet, Gate, Graph, Wire, asset_input, eventually, node, picture, sampled

CHECKPOINT = ModelRef("checkpoints", "v1-5-pruned-emaonly-fp16.safetensors")


@pytest.fixture
def leases() -> LeaseSettings:
    return LeaseSettings(worker_s=3.0, heartbeat_s=0.1)


@pytest.fixture
async def fleet(store: RedisStore, leases: LeaseSettings, tmp_path: Path) -> AsyncIterator[Fleet]:
    storage = LocalStorage(tmp_path / "storage")
    yield Fleet(store, storage, leases)
    await storage.close()


async def history(url: str) -> dict[str, object]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/history") as answer:
        return await answer.json()


async def queued(url: str) -> list[str]:
    """The prompts that a ComfyUI has, the running one first."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/queue") as answer:
        queue = await answer.json()
    return [item[1] for item in queue["queue_running"] + queue["queue_pending"]]


# --- runs that succeed ---


async def test_a_run_from_its_order_to_its_committed_outputs(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w", sim.url), rate=3.6):
        worker = await fleet.worker("w")
        assert worker.info.comfyui_version == "0.33.0"
        assert worker.info.vram_bytes == 24 * 1024**3
        job = await fleet.job(await fleet.submit(picture(color=0xFF0000), "w"))

        assert job.status is JobStatus.SUCCEEDED
        (output,) = job.outputs
        assert (output.node_id, output.name, output.type) == ("2", "pic_00001_.png", MediaType.IMAGE)
        assert (output.content_type, output.width, output.height) == ("image/png", 32, 32)
        assert output.path == f"runs/{job.spec.id}/{job.runs[0].id}/0-pic_00001_.png"
        data = await fleet.read(output.path)
        assert len(data) == output.size_bytes
        assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (255, 0, 0)
        assert job.runs[0].cost is not None
        assert (await fleet.store.worker("w")).runs == ()
        await eventually(lambda: _is_empty(sim.url), "the history to be erased")


async def _is_empty(url: str) -> bool:
    return await history(url) == {}


async def test_an_input_is_sent_once_however_many_runs_want_it(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (1, 2, 3)).save(buffer, "PNG")
    asset = await fleet.upload(buffer.getvalue(), "../My photo.PNG")
    graph = {
        "1": node("LoadImage", image=asset_input(asset)),
        "2": node("SaveImage", images=["1", 0], filename_prefix="p"),
    }
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        for _ in range(2):
            job = await fleet.job(await fleet.submit(graph, "w"))
            assert job.status is JobStatus.SUCCEEDED
            assert (job.outputs[0].width, job.outputs[0].height) == (20, 10)
        there = sim.directory / "input" / asset.filename
        assert there.read_bytes() == buffer.getvalue()
        sent_at = there.stat().st_mtime_ns

        there.unlink()  # somebody tidies up
        assert (await fleet.job(await fleet.submit(graph, "w"))).status is JobStatus.SUCCEEDED
        assert there.stat().st_mtime_ns > sent_at


async def test_large_files_both_ways(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    noise = Image.frombytes("RGB", (500, 500), random.Random(1).randbytes(750_000))
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    asset = await fleet.upload(buffer.getvalue(), "noise.png")
    graph = {
        "1": node("LoadImage", image=asset_input(asset)),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="p"),
    }
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        (output,) = (await fleet.job(await fleet.submit(graph, "w"))).outputs
        data = await fleet.read(output.path)
        assert len(data) == output.size_bytes > HEAD_BYTES
        assert output.hash == f"blake3:{blake3(data).hexdigest()}"
        assert Image.open(io.BytesIO(data)).tobytes() == ImageOps.invert(noise).tobytes()


async def test_an_input_that_is_stored_no_more_fails_the_job(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    asset = await fleet.upload(b"x", "x.png")
    await fleet.storage.delete(asset_key(asset.hash))
    graph = {
        "1": node("LoadImage", image=asset_input(asset)),
        "2": node("SaveImage", images=["1", 0], filename_prefix="p"),
    }
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job = await fleet.job(await fleet.submit(graph, "w"))
        assert job.error is not None
        assert (job.error.code, job.error.details) == ("asset_missing", {"asset": asset.id})


MANY: Graph = {
    "1": node("EmptyImage", width=16, height=16, batch_size=2, color=1),
    "2": node("SaveImage", images=["1", 0], filename_prefix="a"),
    "3": node("PreviewImage", images=["1", 0]),
    "4": node("PreviewAny", source="some text"),
    "5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "6": node("SaveLatent", samples=["5", 0], filename_prefix="l"),
    "7": node("EmptyAudio", duration=0.1, sample_rate=44100, channels=1),
    "8": node("SaveAudio", audio=["7", 0], filename_prefix="s"),
}


async def test_every_kind_of_output(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job = await fleet.job(await fleet.submit(MANY, "w"))
        assert job.status is JobStatus.SUCCEEDED, job.error
        assert {(output.node_id, output.type) for output in job.outputs} == {
            ("2", MediaType.IMAGE),
            ("4", MediaType.TEXT),
            ("6", MediaType.LATENT),
            ("8", MediaType.AUDIO),
        }
        assert [output.node_id for output in job.outputs].count("2") == 2
        text = next(output for output in job.outputs if output.node_id == "4")
        assert (text.name, await fleet.read(text.path)) == ("4.txt", b"some text")


async def test_only_the_outputs_that_were_asked_for(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        graph = MANY | {"9": node("SaveImage", filename_prefix="an output that could not be made")}
        job = await fleet.job(await fleet.submit(graph, "w", outputs=("3",)))
        assert job.status is JobStatus.SUCCEEDED, job.error
        assert [output.node_id for output in job.outputs] == ["3", "3"]
        assert not list((sim.directory / "output").rglob("*.*")), "nothing else was executed"


async def test_the_next_run_executes_while_outputs_are_collected(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    gate = Gate(fleet.storage)
    async with fleet.agent(("w", sim.url), storage=gate):
        await fleet.worker("w")
        jobs = [await fleet.submit(picture(color), "w") for color in range(3)]
        await eventually(lambda: len(sim.spans) == 3, "all three to have executed")
        assert {(await fleet.store.job(job)).terminal for job in jobs} == {False}
        gate.open.set()
        assert {(await fleet.job(job)).status for job in jobs} == {JobStatus.SUCCEEDED}


async def test_progress_previews_and_residency(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.05)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=16))
        watch = await fleet.store.watch()
        await watch.add(job_id)
        await fleet.assign(job_id, "w")
        seen: list[EventType] = []
        values: list[float] = []
        async for _, event in watch:
            seen.append(event.type)
            if event.type is EventType.PROGRESS:
                values.append(event.data["value"])
            if event.data.get("status") == "succeeded":
                break
        await watch.close()
        assert 4 <= len(values) <= 12
        assert values == sorted(values)
        assert 0.0 < values[0] < values[-1] <= 1.0
        assert seen[0] is EventType.STATUS
        assert seen.index(EventType.OUTPUT) > max(i for i, kind in enumerate(seen) if kind is EventType.PROGRESS)
        worker = await fleet.store.worker("w")
        assert worker.residency.vram == (CHECKPOINT,)
        assert worker.residency.sizes == {CHECKPOINT: 2_133_000_000}
        run = (await fleet.store.job(job_id)).runs[0]
        assert run.load_s is not None
        assert run.timings.staged_at is not None
        assert run.load_s > 0


async def test_a_storage_that_fails_for_a_while_costs_no_run(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    gate = Gate(fleet.storage)
    gate.open.set()
    gate.failures = [Busy("storage_unavailable", "the disk is away", 1.0)] * 2
    async with fleet.agent(("w", sim.url), storage=gate):
        await fleet.worker("w")
        job = await fleet.job(await fleet.submit(picture(), "w"))
        assert job.status is JobStatus.SUCCEEDED
        assert len(job.runs) == 1


async def test_an_output_that_the_cache_outlived_is_made_again(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    graph = {"1": picture(7)["1"], "2": node("PreviewImage", images=["1", 0])}
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        assert (await fleet.job(await fleet.submit(graph, "w"))).status is JobStatus.SUCCEEDED
        for file in (sim.directory / "temp").glob("*.png"):
            file.unlink()
        job = await fleet.job(await fleet.submit(graph, "w"))
        assert job.status is JobStatus.SUCCEEDED
        assert len(job.outputs) == 1
        assert len(job.runs) == 1
        assert len(sim.spans) == 3


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
        await eventually(lambda: _holds(sim.url, 2), "both to be on ComfyUI")
        await fleet.store.cancel(waiting)
        assert (await fleet.job(waiting)).status is JobStatus.CANCELED
        assert (await fleet.job(executing)).status is JobStatus.SUCCEEDED
        assert len(sim.spans) == 1


async def _holds(url: str, count: int) -> bool:
    return len(await queued(url)) == count


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


# --- ComfyUI goes away ---


async def test_comfyui_killed_in_mid_run(fleet: Fleet, sim_process: StartSimProcess) -> None:
    doomed = await sim_process(step_seconds=0.05)
    other = await sim_process(step_seconds=0.0)
    async with fleet.agent(("doomed", doomed.url), ("other", other.url)):
        await fleet.worker("doomed")
        await fleet.worker("other")
        job_id = await fleet.submit(sampled(steps=1000), "doomed")
        waiting_id = await fleet.submit(picture(), "doomed")
        await fleet.run_in(job_id, RunState.RUNNING)
        await doomed.kill()

        lost = await fleet.run_in(job_id, RunState.LOST)
        assert lost.outcome is not None
        assert "is ComfyUI running there?" in lost.outcome
        down = await fleet.worker("doomed", WorkerState.DOWN)
        assert down.note is not None
        for each in (job_id, waiting_id):
            await fleet.run_in(each, RunState.QUEUED, attempt=2)
            await fleet.assign(each, "other")
            assert (await fleet.job(each)).status is JobStatus.SUCCEEDED

        back = await sim_process(port=int(doomed.url.rsplit(":", 1)[1]))
        await fleet.worker("doomed")
        assert back.url == doomed.url
        assert (await fleet.job(await fleet.submit(picture(), "doomed"))).status is JobStatus.SUCCEEDED


async def test_comfyui_restarted_before_anybody_noticed(fleet: Fleet, sim_process: StartSimProcess) -> None:
    sim = await sim_process(step_seconds=0.05)
    port = int(sim.url.rsplit(":", 1)[1])
    async with Wire(sim.url) as wire, fleet.agent(("w", wire.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=1000), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
        await sim.kill()
        await sim_process(port=port)
        await fleet.run_in(job_id, RunState.LOST)
        await fleet.worker("w")
        await fleet.assign(job_id, "w")
        assert (await fleet.job(job_id)).status is JobStatus.SUCCEEDED


async def test_a_comfyui_that_hangs(
    fleet: Fleet, sim_process: StartSimProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_QUICK", aiohttp.ClientTimeout(total=0.5))
    monkeypatch.setattr(monitor, "SILENCE_S", 0.5)
    monkeypatch.setitem(monitor.GONE_AFTER_S, "comfyui_timeout", 1.0)  # type: ignore[arg-type]
    hanging, other = await sim_process(step_seconds=0.05), await sim_process()
    async with fleet.agent(("hanging", hanging.url), ("other", other.url)):
        await fleet.worker("hanging")
        await fleet.worker("other")
        job_id = await fleet.submit(sampled(steps=2000), "hanging")
        first = await fleet.run_in(job_id, RunState.RUNNING)
        os.kill(hanging.pid, signal.SIGSTOP)
        try:
            lost = await fleet.run_in(job_id, RunState.LOST)
            assert lost.outcome is not None
            assert "did not answer in time" in lost.outcome
            await fleet.assign(job_id, "other")
            job = await fleet.job(job_id)
            assert job.status is JobStatus.SUCCEEDED
        finally:
            os.kill(hanging.pid, signal.SIGCONT)
        await fleet.worker("hanging")
        assert first.id not in await queued(hanging.url)
        assert fleet.stored_runs() == {job.runs[-1].id}


async def test_a_comfyui_that_is_not_there_yet(fleet: Fleet, sim_process: StartSimProcess) -> None:
    first = await sim_process()
    await first.kill()
    async with fleet.agent(("w", first.url)):
        down = await fleet.worker("w", WorkerState.DOWN)
        assert down.note is not None
        assert "is ComfyUI running there?" in down.note
        await sim_process(port=int(first.url.rsplit(":", 1)[1]))
        await fleet.worker("w")


# --- the websocket goes away ---


async def test_without_a_websocket_the_history_is_polled(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with Wire(sim.url) as wire:
        wire.deaf = True
        async with fleet.agent(("w", wire.url)):
            await fleet.worker("w")
            job = await fleet.job(await fleet.submit(sampled(steps=10), "w"))
            assert job.status is JobStatus.SUCCEEDED
            assert len(job.runs) == 1


async def test_a_websocket_cut_in_mid_run(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with Wire(sim.url) as wire, fleet.agent(("w", wire.url)):
        await fleet.worker("w")
        epoch = (await fleet.store.worker("w")).epoch
        job_id = await fleet.submit(sampled(steps=60), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
        wire.cut()
        job = await fleet.job(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert len(job.runs) == 1
        assert (await fleet.store.worker("w")).epoch == epoch  # it was seen to be the same ComfyUI


# --- the driver goes away ---


async def test_a_run_that_executes_is_adopted_by_the_next_driver(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        executing = await fleet.submit(sampled(steps=60), "w")
        waiting = await fleet.submit(picture(), "w")
        await fleet.run_in(executing, RunState.RUNNING)
        await eventually(lambda: _holds(sim.url, 2), "both to be on ComfyUI")
    async with fleet.agent(("w", sim.url), name="next"):
        for job_id in (executing, waiting):
            job = await fleet.job(job_id)
            assert job.status is JobStatus.SUCCEEDED
            assert len(job.runs) == 1
        assert len(sim.spans) == 2


async def test_a_run_that_ended_meanwhile_is_collected_by_the_next_driver(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=20), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
    await eventually(lambda: len(sim.spans) == 1, "the run to end")
    async with fleet.agent(("w", sim.url), name="next"):
        job = await fleet.job(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert len(job.runs) == 1
        assert len(sim.spans) == 1


async def test_a_run_that_was_never_posted_is_executed_by_the_next_driver(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
    job_id = await fleet.submit(picture(), "w")
    async with fleet.agent(("w", sim.url), name="next"):
        job = await fleet.job(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert len(job.runs) == 1


async def test_what_went_elsewhere_meanwhile_is_stopped_by_the_next_driver(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=2000), "w")
        run = await fleet.run_in(job_id, RunState.RUNNING)
    async with aiohttp.ClientSession() as http:
        await http.post(f"{sim.url}/prompt", json={"prompt": sampled(steps=3)})  # somebody else's
    await _take_away(fleet, job_id)
    async with fleet.agent(("w", sim.url), name="next"):
        await fleet.worker("w")
        assert run.id not in await queued(sim.url)
        await eventually(lambda: len(sim.spans) == 2, "what somebody else queued to be executed")


async def test_two_agents_with_the_same_worker(
    fleet: Fleet, sim_comfyui: StartSim, caplog: pytest.LogCaptureFixture
) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=60), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
        async with fleet.agent(("w", sim.url), name="another"):
            job = await fleet.job(job_id)
            assert job.status is JobStatus.SUCCEEDED
            assert len(job.runs) == 1
            assert len(sim.spans) == 1
            assert fleet.stored_runs() == {job.runs[0].id}
            await eventually(lambda: "remove it from one of them" in caplog.text, "the mistake to be told")


# --- the store goes away ---


class Forgetful:
    """A store whose answer to the first commit is lost on the way, after it was done."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self.commits = 0

    async def commit(self, key: RunKey, result: Result) -> None:
        await self._store.commit(key, result)
        self.commits += 1
        if self.commits == 1:
            raise Busy("store_unavailable", "Redis does not answer", 1.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_commit_whose_answer_was_lost_is_one_commit(
    fleet: Fleet, store: RedisStore, sim_comfyui: StartSim
) -> None:
    sim = await sim_comfyui()
    forgetful = Forgetful(store)
    fleet.store = forgetful  # type: ignore[assignment]
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job = await fleet.job(await fleet.submit(picture(), "w"))
        await eventually(lambda: forgetful.commits == 2, "the driver to insist")
        assert job.status is JobStatus.SUCCEEDED
        assert len(await fleet.read(job.outputs[0].path)) == job.outputs[0].size_bytes


class Astounding(Forgetful):
    """A store that fails the first commit in a way that nobody foresaw."""

    async def commit(self, key: RunKey, result: Result) -> None:
        self.commits += 1
        if self.commits == 1:
            raise TypeError("Type is not JSON serializable: Residency")
        await self._store.commit(key, result)


async def test_a_surprise_as_the_end_is_told_costs_a_retry_and_not_the_driver(
    fleet: Fleet, store: RedisStore, sim_comfyui: StartSim
) -> None:
    sim = await sim_comfyui()
    fleet.store = Astounding(store)  # type: ignore[assignment]
    async with fleet.agent(("w", sim.url)):
        epoch = (await fleet.worker("w")).epoch
        job_id = await fleet.submit(picture(), "w")
        lost = await fleet.run_in(job_id, RunState.LOST)
        assert "comfyfleet failed, not the job: TypeError" in str(lost.outcome)
        await fleet.assign(job_id, "w")
        assert (await fleet.job(job_id)).status is JobStatus.SUCCEEDED
        assert (await store.worker("w")).epoch == epoch, "its driver went on"


# --- the run goes away ---


async def _take_away(fleet: Fleet, job_id: str) -> None:
    """What the reaper does when a lease runs out."""
    run = (await fleet.store.job(job_id)).runs[-1]
    assert run.worker is not None
    key = RunKey(run.id, run.attempt, run.worker)
    assert await fleet.store.retry(key, "its worker was not heard from", error=JobError("worker_lost", "x"))


async def test_a_run_that_was_taken_away_is_stopped(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=2000), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
        await _take_away(fleet, job_id)
        await eventually(lambda: _holds(sim.url, 0), "it to be stopped")
        assert (await fleet.store.worker("w")).state is WorkerState.READY


async def test_a_result_that_comes_too_late_leaves_no_files(fleet: Fleet, sim_comfyui: StartSim) -> None:
    late, other = await sim_comfyui(), await sim_comfyui()
    gate = Gate(fleet.storage)
    async with (
        fleet.agent(("late", late.url), storage=gate),
        fleet.agent(("other", other.url), name="another"),
    ):
        await fleet.worker("late")
        await fleet.worker("other")
        job_id = await fleet.submit(picture(), "late")
        await gate.waiting.wait()
        await _take_away(fleet, job_id)
        run = (await fleet.store.job(job_id)).runs[-1]
        assert await fleet.store.assign([Assignment(run.id, run.attempt, "other", {})]) == [True]
        gate.open.set()
        job = await fleet.job(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert [each.state for each in job.runs] == [RunState.LOST, RunState.SUCCEEDED]
        await eventually(lambda: fleet.stored_runs() == {run.id}, "the late files to be gone")
        assert job.outputs[0].path.split("/")[2] == run.id


async def test_what_was_stored_for_a_run_goes_with_the_lease_of_its_worker(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    fleet.leases = LeaseSettings(worker_s=0.3, heartbeat_s=0.1)
    brink = Brink(fleet.storage)
    async with fleet.agent(("w", sim.url), storage=brink):
        worker = await fleet.worker("w")
        job_id = await fleet.submit(picture(), "w")
        await brink.waiting.wait()
        assert fleet.stored_runs()
        await fleet.store.lost_worker("w", worker.epoch, "its agent was not heard from")
        await _take_away(fleet, job_id)
        assert (await fleet.worker("w")).epoch > worker.epoch
        await eventually(lambda: not fleet.stored_runs(), "the files to be gone")
        await eventually(lambda: _is_empty(sim.url), "ComfyUI to forget the run")


async def test_what_was_stored_for_a_run_goes_when_its_job_is_canceled(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    brink = Brink(fleet.storage)
    async with fleet.agent(("w", sim.url), storage=brink):
        await fleet.worker("w")
        job_id = await fleet.submit(picture(), "w")
        await brink.waiting.wait()
        await fleet.store.cancel(job_id)
        assert (await fleet.job(job_id)).status is JobStatus.CANCELED
        await eventually(lambda: not fleet.stored_runs(), "the files to be gone")
        await eventually(lambda: _is_empty(sim.url), "ComfyUI to forget the run")


async def test_a_worker_that_was_taken_from_us_is_taken_back(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    fleet.leases = LeaseSettings(worker_s=0.3, heartbeat_s=0.1)
    async with fleet.agent(("w", sim.url)):
        worker = await fleet.worker("w")
        await fleet.store.lost_worker("w", worker.epoch, "its agent was not heard from")
        again = await fleet.worker("w")
        assert again.epoch > worker.epoch
        assert (await fleet.job(await fleet.submit(picture(), "w"))).status is JobStatus.SUCCEEDED
