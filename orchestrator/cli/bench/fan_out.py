"""How soon a thousand watchers hear of what happens to a hundred jobs that execute, and what each of them costs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import orjson

from orchestrator.cli.bench.figures import Figure, percentile
from orchestrator.cli.bench.fleet import Ground, attached, process_cpu_s, ready, resident_bytes, simulated, until
from orchestrator.cli.bench.watchers import LATE_S
from orchestrator.cli.bench.workload import long
from orchestrator.cli.children import child, started
from orchestrator.cli.client import FleetClient
from orchestrator.domain.job import JobStatus
from orchestrator.errors import FleetError
from orchestrator.simulator.comfyui import SimConfig
from orchestrator.store.redis import RedisStore

JOBS, EACH = 100, 10  # watchers of each job
SECONDS = 10.0
STEPS, STEP_S = 500, 0.2


async def fan_out(ground: Ground) -> AsyncIterator[Figure]:
    """The controller is a process of its own, and so are the agent, and those who watch."""
    log = ground.folder / "fan-out.log"
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(simulated(JOBS, SimConfig(step_seconds=STEP_S)))
        workers = [{**worker, "pool": worker["id"]} for worker in attached(urls)]  # so that each has a job
        config = str(ground.config("fan-out", workers))
        command = ("orchestrator", "controller", "--config", config, "--port", "0")
        controller = await stack.enter_async_context(child(*command, log=log))
        await stack.enter_async_context(started("orchestrator", "agent", "--config", config, log=log))
        client = await stack.enter_async_context(FleetClient(controller.url))
        store = await stack.enter_async_context(ground.store("fan-out"))
        await ready(client, JOBS)
        bodies = [{"workflow": long(STEPS, 0), "pool": worker["pool"]} for worker in workers]
        jobs = [(await client.post("/v1/jobs", body))["id"] for body in bodies]

        async def executing() -> bool:
            return (await store.counts()).jobs.get(JobStatus.RUNNING) == JOBS

        await until(executing, "all jobs to execute")
        yield await _watched(controller.url, controller.pid, jobs, store)
        for job_id in jobs:
            await client.post(f"/v1/jobs/{job_id}/cancel")


async def _watched(url: str, pid: int, jobs: Sequence[str], store: RedisStore) -> Figure:
    before = resident_bytes(pid)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator.cli.bench.watchers", url, str(EACH), str(SECONDS), *jobs,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    connected = await process.stdout.readline()
    used = process_cpu_s(pid)
    printed = await process.stdout.read()
    used = process_cpu_s(pid) - used
    memory = (resident_bytes(pid) - before) / (JOBS * EACH)
    if await process.wait() or not connected:
        raise FleetError("bench_failed", f"the watchers of {url} ended with {process.returncode}; see above")
    heard = orjson.loads(printed)
    lags: list[float] = heard["lags_ms"]
    rate = len(lags) / SECONDS
    missed = EACH * await _told(store, jobs, heard["begins"], heard["ends"]) - len(lags)
    how = f"{JOBS * EACH:,} SSE streams on {JOBS} jobs that execute, from an event's id to its arrival"
    detail = (
        f"p50 {percentile(lags, 0.5):.0f} ms, max {max(lags):.0f} ms, {missed} missed; {rate:,.0f} deliveries/s, "
        f"{used / (SECONDS + 2 * LATE_S):.0%} of a core; {memory / 1000:.0f} kB of memory a watcher"
    )
    return Figure("fan-out lag, p99", percentile(lags, 0.99), "ms", 250.0, "at most", how, detail)


async def _told(store: RedisStore, jobs: Sequence[str], begins: int, ends: int) -> int:
    """Events of those jobs from then to then."""
    events = [event for job_id in jobs for event in await store.events(job_id)]
    return sum(begins <= int(str(event.id).partition("-")[0]) < ends for event in events)
