"""What a driver makes of runs that succeed."""

from __future__ import annotations

import io
import random

from blake3 import blake3
from PIL import Image, ImageOps

from orchestrator.delivery.keys import asset_key
from orchestrator.delivery.media import HEAD_BYTES
from orchestrator.domain.asset import MediaType
from orchestrator.domain.event import EventType
from orchestrator.domain.job import JobStatus
from orchestrator.domain.needs import ModelRef
from orchestrator.errors import Busy
from orchestrator.store.port import FeedKind
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import (
    Fleet,
    Gate,
    Graph,
    asset_input,
    eventually,
    has_forgotten_all,
    node,
    picture,
    sampled,
)

CHECKPOINT = ModelRef("checkpoints", "v1-5-pruned-emaonly-fp16.safetensors")


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
        await eventually(lambda: has_forgotten_all(sim.url), "the history to be erased")


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


async def test_a_worker_that_waits_for_its_storage_is_said_to_be_free(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    gate = Gate(fleet.storage)
    async with fleet.agent(("w", sim.url), storage=gate):
        await fleet.worker("w")
        job = await fleet.submit(picture(1), "w")
        async for items in fleet.store.feed(0):
            if FeedKind.EXECUTED in {item.kind for item in items}:
                break
        gate.open.set()
        assert (await fleet.job(job)).status is JobStatus.SUCCEEDED


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
