"""Two controllers and three agents that share nothing but a Redis and a folder: how much they do together, and how long
nothing begins when the controller that leads is killed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from itertools import pairwise
from signal import SIGKILL

from orchestrator.cli.bench.figures import Figure, percentile
from orchestrator.cli.bench.fleet import Fleet, Ground, attached, load, ready
from orchestrator.cli.bench.scene import Scene
from orchestrator.cli.bench.workload import SMALL
from orchestrator.cli.children import Child, child, simulated_comfyuis, started
from orchestrator.cli.client import FleetClient
from orchestrator.domain.job import JobStatus

NAME = "scale-out"
AGENTS = 3
CONNECTIONS = 16
THROUGHPUT = 600  # jobs for each controller
TRIALS = 3
BACKLOG, UNDER_WAY = 90, 6  # jobs a trial, and how many of them are done when the leader dies
STEPS = 25  # of 20 ms: what is queued lasts for longer than any takeover


async def scale_out(ground: Ground) -> AsyncIterator[Figure]:
    async with AsyncExitStack() as stack:
        log = ground.folder / f"{NAME}.log"
        config = str(ground.config(NAME, []))
        command = ("orchestrator", "controller", "--config", config, "--port", "0")

        async def controller() -> Child:
            return await stack.enter_async_context(child(*command, log=log))

        leader = await controller()
        for worker in attached(await stack.enter_async_context(simulated_comfyuis(AGENTS))):
            node = str(ground.config(NAME, [worker], role=f"-{worker['id']}"))
            await stack.enter_async_context(started("orchestrator", "agent", "--config", node, log=log))
        store = await stack.enter_async_context(ground.store(NAME))
        client = await stack.enter_async_context(FleetClient(leader.url))
        await ready(client, AGENTS)
        other = await controller()
        fleet = Fleet(client, store, leader.pid, ground.redis_pid)
        yield await _throughput(fleet, leader, other)

        gaps: list[float] = []
        scenes: list[Scene] = []
        for _ in range(TRIALS):
            client = await stack.enter_async_context(FleetClient(other.url))
            scenes.append(Scene(client, store, [], STEPS))
            gaps.append(await _gap(scenes[-1], fleet, leader))
            leader, other = other, await controller()
        how = f"kill -9 of the leading controller with {BACKLOG} jobs queued, longest time between two runs' beginnings"
        detail = f"{', '.join(f'{gap:.1f}' for gap in gaps)} s in {TRIALS} trials; {AGENTS} agents, default leases"
        yield Figure("leader killed, gap, p99", percentile(gaps, 0.99), "s", 5.0, "at most", how, detail)
        harmed = sum([await scene.lost() + await scene.doubled() for scene in scenes])
        how = f"{TRIALS * BACKLOG} jobs, lost or with two results committed"
        yield Figure("jobs harmed when a leader is killed", harmed, "", 0, "at most", how)


async def _throughput(fleet: Fleet, *controllers: Child) -> Figure:
    """Half of the jobs through each."""
    total = THROUGHPUT * len(controllers)
    loads = [load(f"{each.url}/v1/jobs", {"workflow": SMALL}, THROUGHPUT, CONNECTIONS) for each in controllers]
    began = min(result["started_at"] for result in await asyncio.gather(*loads))
    await fleet.succeeded(total)
    newest = (await fleet.client.get("/v1/jobs", limit=500))["jobs"]
    seconds = max(datetime.fromisoformat(job["completed_at"]).timestamp() for job in newest) - began
    how = (
        f"{total} jobs with a PNG of 64x64, 2 controllers, {AGENTS} agents with a simulated ComfyUI each, till all done"
    )
    return Figure("scale-out", total / seconds, "jobs/s", 100, "at least", how)


async def _gap(scene: Scene, fleet: Fleet, leader: Child) -> float:
    """Seconds."""
    done = (await fleet.store.counts()).jobs.get(JobStatus.SUCCEEDED, 0)
    await scene.give(BACKLOG)
    await fleet.succeeded(done + UNDER_WAY)
    killed_at = time.time()
    os.kill(leader.pid, SIGKILL)
    began = sorted(run.timings.started_at for job in await scene.over() for run in job.runs if run.timings.started_at)
    return max(later - earlier for earlier, later in pairwise(began) if later > killed_at)
