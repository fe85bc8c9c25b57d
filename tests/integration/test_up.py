"""`comfyfleet up` as a real process: it is killed and started again, and nothing that it answered for is lost.

The ComfyUIs are processes of their own that survive it, as they would on other machines.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.client import FleetClient, Unreachable
from orchestrator.errors import Busy, FleetError
from orchestrator.store.embedded import EmbeddedRedis
from tests.fixtures.up import Node, check_committed_once, has, statuses, until

pytestmark = pytest.mark.timeout(180)


def picture(seed: int, steps: int) -> Mapping[str, Any]:
    """A graph that takes `steps` steps of the simulated sampler and paints a picture of its own."""

    def node(class_type: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly-fp16.safetensors"),
        "2": node("CLIPTextEncode", clip=["1", 1], text="a lighthouse"),
        "3": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "4": node(
            "KSampler", model=["1", 0], positive=["2", 0], negative=["2", 0], latent_image=["3", 0], seed=seed,
            steps=steps, cfg=7, sampler_name="euler", scheduler="normal", denoise=1,
        ),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "6": node("SaveImage", images=["5", 0], filename_prefix="lighthouse"),
    }  # fmt: skip


async def submit(fleet: FleetClient, seed: int, steps: int = 2) -> str:
    return (await fleet.post("/v1/jobs", {"workflow": picture(seed, steps), "retries": 5}))["id"]


@pytest.mark.parametrize("redis_too", [False, True], ids=["up", "up-and-its-redis"])
async def test_no_job_is_lost_when_up_is_killed(node: Node, sim_process, tmp_path: Path, redis_too: bool) -> None:
    comfyuis = [await sim_process(step_seconds=0.01) for _ in range(2)]
    node.configure(workers=[{"url": comfyui.url} for comfyui in comfyuis])
    first = await node.up()
    jobs = await asyncio.gather(*(submit(first.fleet, seed) for seed in range(200)))
    await until(lambda: has(first.fleet, "succeeded", 20), "the first jobs to succeed")
    before = await statuses(first.fleet)
    assert before["queued"] > 50
    assert before["running"] > 0
    if redis_too:
        async with node.redis() as redis:
            redis_pid = (await redis.info("server"))["process_id"]
    await first.kill()
    if redis_too:
        os.kill(redis_pid, signal.SIGKILL)

    second = await node.up()
    await until(lambda: has(second.fleet, "succeeded", len(jobs)), "every job to succeed")
    assert await statuses(second.fleet) == {"succeeded": len(jobs)}
    for job_id in jobs:
        await check_committed_once(second.fleet, job_id, tmp_path)
    assert await second.stop() == 0


async def test_jobs_go_on_when_the_embedded_redis_is_killed_again_and_again(
    node: Node, sim_process, tmp_path: Path
) -> None:
    comfyuis = [await sim_process(step_seconds=0.01) for _ in range(2)]
    node.configure(workers=[{"url": comfyui.url} for comfyui in comfyuis])
    up = await node.up()
    jobs = await asyncio.gather(*(submit(up.fleet, seed) for seed in range(60)))
    for done in (5, 20, 40):
        await until(lambda: answers(up.fleet, done), f"{done} jobs to succeed")  # noqa: B023 - awaited right here
        async with node.redis() as redis:
            os.kill((await redis.info("server"))["process_id"], signal.SIGKILL)
    await until(lambda: answers(up.fleet, len(jobs)), "every job to succeed")
    for job_id in jobs:
        await check_committed_once(up.fleet, job_id, tmp_path)
    assert await up.stop() == 0


async def answers(fleet: FleetClient, succeeded: int) -> bool:
    """Whether so many have; not while its Redis is away."""
    try:
        return await has(fleet, "succeeded", succeeded)
    except Busy:
        return False


async def test_a_run_ends_elsewhere_when_its_comfyui_is_killed(node: Node, sim_process, tmp_path: Path) -> None:
    comfyuis = {name: await sim_process(step_seconds=0.1) for name in ("left", "right")}
    node.configure(workers=[{"id": name, "url": comfyui.url} for name, comfyui in comfyuis.items()])
    up = await node.up()
    job_id = await submit(up.fleet, seed=1, steps=20)
    await until(lambda: has(up.fleet, "running", 1), "the job to run")
    [run] = (await up.fleet.get(f"/v1/jobs/{job_id}"))["runs"]
    await comfyuis[run["worker"]].kill()
    await until(lambda: has(up.fleet, "succeeded", 1), "the job to succeed elsewhere")
    await check_committed_once(up.fleet, job_id, tmp_path)
    ended = (await up.fleet.get(f"/v1/jobs/{job_id}"))["runs"]
    assert [run["state"] for run in ended] == ["lost", "succeeded"]
    assert {run["worker"] for run in ended} == set(comfyuis)


async def test_sigterm_finishes_what_executes_and_gives_back_what_waits(
    node: Node, sim_process, tmp_path: Path
) -> None:
    comfyui = await sim_process(step_seconds=0.1)
    node.configure(workers=[{"url": comfyui.url}])
    first = await node.up()
    jobs = [await submit(first.fleet, seed, steps=10) for seed in range(4)]
    await until(lambda: has(first.fleet, "running", 1), "a job to run")
    assert await first.stop() == 0

    second = await node.up()
    counts = await statuses(second.fleet)
    assert counts["succeeded"] >= 1
    assert counts["queued"] + counts["running"] >= 1
    await until(lambda: has(second.fleet, "succeeded", len(jobs)), "the rest to succeed")
    for job_id in jobs:
        await check_committed_once(second.fleet, job_id, tmp_path)
        runs = (await second.fleet.get(f"/v1/jobs/{job_id}"))["runs"]
        assert {run["state"] for run in runs} <= {"returned", "succeeded"}


async def test_a_second_signal_stops_at_once_and_loses_nothing(node: Node, sim_process, tmp_path: Path) -> None:
    comfyui = await sim_process(step_seconds=0.2)
    node.configure(workers=[{"url": comfyui.url}])
    first = await node.up()
    job_id = await submit(first.fleet, seed=1, steps=30)
    await until(lambda: has(first.fleet, "running", 1), "the job to run")
    first.interrupt()
    assert await first.stop() == 130

    second = await node.up()
    assert (await statuses(second.fleet))["succeeded"] == 0
    await until(lambda: has(second.fleet, "succeeded", 1), "the job to succeed")
    await check_committed_once(second.fleet, job_id, tmp_path)


async def test_it_stops_without_a_redis_too_and_the_next_start_goes_on(node: Node, sim_process, tmp_path: Path) -> None:
    comfyui = await sim_process(step_seconds=0.2)
    (tmp_path / "redis").mkdir()
    server = await EmbeddedRedis.start(tmp_path / "redis")
    node.configure(workers=[{"url": comfyui.url}], redis={"url": server.url}, drain_s=600)
    first = await node.up()
    job_id = await submit(first.fleet, seed=1, steps=30)
    await until(lambda: has(first.fleet, "running", 1), "the job to run")
    await server.stop()
    async with asyncio.timeout(60):  # it would wait ten minutes for what executes
        assert await first.stop() == 0
    server = await EmbeddedRedis.start(tmp_path / "redis")
    second = await node.up()
    await until(lambda: has(second.fleet, "succeeded", 1), "the job to succeed")
    await check_committed_once(second.fleet, job_id, tmp_path)
    assert await second.stop() == 0
    await server.stop()


async def test_simulated_comfyuis_end_with_the_up_that_started_them(node: Node) -> None:
    node.configure(workers=[])
    up = await node.up("--simulate", "1")
    [worker] = (await up.fleet.get("/v1/workers"))["workers"]
    await up.kill()

    async def gone() -> bool:
        async with FleetClient(worker["url"]) as comfyui:
            try:
                await comfyui.get("/queue")
            except Unreachable:
                return True
            except FleetError as error:
                pytest.fail(f"{worker['url']} answered {error}")
        return False

    await until(gone, "the simulated ComfyUI to end")
    async with node.redis() as redis:
        await redis.shutdown(nosave=True)


async def test_many_may_watch_where_the_system_begins_with_few_open_files(node: Node, sim_process) -> None:
    comfyui = await sim_process(step_seconds=0.05)
    node.configure(workers=[{"url": comfyui.url}])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))  # which the child inherits
    try:
        up = await node.up()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    job_id = await submit(up.fleet, seed=1, steps=40)

    async def watched() -> str:
        return [data["status"] async for kind, data in up.fleet.events(job_id) if kind == "status"][-1]

    assert set(await asyncio.gather(*(watched() for _ in range(300)))) == {"succeeded"}
