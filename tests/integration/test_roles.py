"""Controllers and agents as processes of their own, joined by a Redis alone: any may die, others join, at any time."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.cli.bench.workload import long
from orchestrator.cli.client import FleetClient
from tests.fixtures.up import check_committed_once, has, until

pytestmark = pytest.mark.timeout(180)
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
LEASES = {"worker_s": 3.0, "heartbeat_s": 0.5, "sweep_s": 0.3, "leader_s": 1.5}  # it shall not take long
StartRole = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def role(tmp_path: Path, redis_url: str, namespace: str) -> AsyncIterator[StartRole]:
    """`await role("controller", "--port", "0", workers=[...])`: the process; all share a Redis and a storage folder."""
    numbers = itertools.count()
    async with AsyncExitStack() as stack:

        async def start(name: str, *options: str, **settings: object) -> asyncio.subprocess.Process:
            config = tmp_path / f"{name}-{next(numbers)}.yaml"
            redis = {"url": redis_url, "namespace": namespace}
            config.write_text(json.dumps({"data_dir": "data", "workflows": None, "redis": redis, **settings}))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "orchestrator", name, "--config", str(config), *options,
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip

            async def end() -> None:
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)
                    assert await process.wait() == 0

            stack.push_async_callback(end)
            return process

        yield start


async def url_of(controller: asyncio.subprocess.Process) -> str:
    assert controller.stdout
    line = (await controller.stdout.readline()).decode()
    assert line.startswith("ready http://"), line
    return line.split()[1]


async def test_controllers_and_agents_die_and_join_while_jobs_run(role, sim_comfyui, tmp_path: Path) -> None:
    workers = [{"id": name, "url": (await sim_comfyui(step_seconds=0.05)).url} for name in "abcd"]

    async def controller() -> asyncio.subprocess.Process:
        return await role("controller", "--port", "0", leases=LEASES)

    async def submit(url: str, count: int) -> list[str]:
        async with FleetClient(url) as fleet:
            graphs = [long(steps=10, seed=next(seeds)) for _ in range(count)]
            return [(await fleet.post("/v1/jobs", {"workflow": graph}))["id"] for graph in graphs]

    seeds = itertools.count()
    leader = await controller()
    first = await url_of(leader)
    agents = [await role("agent", leases=LEASES, workers=[worker]) for worker in workers[:3]]
    second = await url_of(await controller())
    jobs = await submit(first, 12) + await submit(second, 12)
    async with FleetClient(second) as fleet:
        await until(lambda: has(fleet, "running", 3), "three jobs to run")
        leader.kill()
        agents[0].kill()
        await role("agent", leases=LEASES, workers=workers[3:])
        jobs += await submit(await url_of(await controller()), 12)
        await until(lambda: has(fleet, "succeeded", len(jobs)), "all jobs to succeed")
        for job_id in jobs:
            await check_committed_once(fleet, job_id, tmp_path)
        runs = [run for job_id in jobs for run in (await fleet.get(f"/v1/jobs/{job_id}"))["runs"]]
    assert {run["worker"] for run in runs if run["state"] == "lost"} == {"a"}  # what the dead agent had
    assert {run["worker"] for run in runs if run["state"] == "succeeded"} >= {"b", "c", "d"}


async def test_an_agent_alone_tells_how_its_workers_do(role, sim_process) -> None:
    comfyui, port = await sim_process(), free_port()
    async with FleetClient(await url_of(await role("controller", "--port", "0"))) as fleet:
        await role("agent", workers=[{"url": comfyui.url, "id": "w"}], agent_listen=f"127.0.0.1:{port}")
        for _ in range(3):
            await fleet.post("/v1/jobs", {"workflow": GRAPH})
        await until(lambda: has(fleet, "succeeded", 3), "the jobs to succeed")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        async with http.get("/healthz") as response:
            assert (await response.json())["status"] == "ok"
        async with http.get("/metrics") as response:
            families = text_string_to_metric_families(await response.text())
            told = {sample.name for family in families for sample in family.samples}
    assert {"comfyfleet_redis_seconds_count", "comfyfleet_model_hits_total"} <= told


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
