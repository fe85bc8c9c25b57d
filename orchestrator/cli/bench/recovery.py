"""How soon a run goes on elsewhere when its ComfyUI or its agent dies or hangs, and that nothing is lost meanwhile.

All leases are the default ones; the watchdog's budgets are short, as what is promised is relative to them. The trials
of a row run side by side: each has a worker of its own that fails, and there is an idle one for each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import Any

import aiohttp
import orjson

from orchestrator.cli.bench.figures import Figure, percentile
from orchestrator.cli.bench.fleet import Ground, attached, ready, simulated
from orchestrator.cli.bench.scene import Scene, Strike
from orchestrator.cli.bench.workload import TINY
from orchestrator.cli.children import child, started
from orchestrator.cli.client import FleetClient
from orchestrator.domain.job import Job
from orchestrator.settings import LeaseSettings
from orchestrator.simulator.comfyui import SimConfig
from orchestrator.simulator.comfyui.installed import InstalledSim

PAIRS = 4  # of a supervised worker that fails and one that is idle
AGENTS = 6  # that fail; every other one is only stopped, and comes back when its run is elsewhere
STEP_S, NODE_S = 2.0, 5.0  # budgets
LOAD_S = 4.0  # of a model: longer than a step may take
BEYOND_S = 20.0  # what is promised on top of a budget

SIMULATED: Mapping[str, Any] = {"step_seconds": 0.02, "models": TINY}
SHORT, LONG = 100, 300  # steps: two seconds, and six


async def comfyuis_that_fail(ground: Ground) -> AsyncIterator[Figure]:
    """ComfyUIs that the agent started: it has to find out, to kill, and to start them again."""
    installation = InstalledSim(ground.folder / "comfyui")
    installation.behave(config=SIMULATED)
    names = [f"w-cpu{n}" for n in range(2 * PAIRS)]
    devices = ["cpu"] * len(names)
    entry = {"id": "w", "comfyui": str(installation.directory), "python": sys.executable, "devices": devices}
    watchdog = {"step_s": STEP_S, "node_s": NODE_S}
    async with ground.up("supervised", [entry], workers=len(names), watchdog=watchdog) as fleet:
        comfyuis = _Comfyuis(fleet.client, ground.folder / "supervised" / "workers")
        scene = Scene(fleet.client, fleet.store, names, SHORT)
        yield await _false_kills(scene, comfyuis)
        waits = await scene.strike(comfyuis.signal(SIGKILL))
        yield await _row(scene, "ComfyUI killed", waits, 0.0, "kill -9 while it samples")
        waits = await scene.strike(comfyuis.signal(SIGSTOP))
        yield await _row(scene, "ComfyUI stopped", waits, STEP_S, "SIGSTOP while it samples")
        waits = await scene.strike(comfyuis.fail(kind="hang", class_type="VAEDecode"))
        yield await _row(scene, "node hangs", waits, NODE_S, "the node after a sampler; counted from before that")
        waits = await scene.spoil(comfyuis.fail(kind="zombie"))
        yield await _row(scene, "zombie", waits, NODE_S, "HTTP answers, the executing thread is dead")
        yield await _unkept(scene, "when a ComfyUI fails")


async def agents_that_fail(ground: Ground) -> AsyncIterator[Figure]:
    """The ComfyUIs go on, and whoever drove them is killed, or comes back late to find their runs taken."""
    async with AsyncExitStack() as stack:
        workers = attached(await stack.enter_async_context(simulated(2 * AGENTS, SimConfig(**SIMULATED))))
        log = ground.folder / "agents.log"
        config = str(ground.config("agents", [], role="-controller"))
        command = ("orchestrator", "controller", "--config", config, "--port", "0")
        url = (await stack.enter_async_context(child(*command, log=log))).url
        pids: dict[str, int] = {}
        for node in (*([worker] for worker in workers[:AGENTS]), workers[AGENTS:]):
            config = str(ground.config("agents", node, role=f"-{node[0]['id']}"))
            process = await stack.enter_async_context(started("orchestrator", "agent", "--config", config, log=log))
            pids |= {worker["id"]: process.pid for worker in node}
        client = await stack.enter_async_context(FleetClient(url))
        await ready(client, len(workers))

        names = [worker["id"] for worker in workers]
        ways = dict(zip(names, [SIGKILL, SIGSTOP] * (AGENTS // 2), strict=False))

        async def strike(worker_id: str) -> None:
            os.kill(pids[worker_id], ways[worker_id])

        scene = Scene(client, await stack.enter_async_context(ground.store("agents")), names, LONG)
        late = [worker_id for worker_id, way in ways.items() if way is SIGSTOP]
        try:
            waits = await scene.strike(strike, spread_s=LeaseSettings().heartbeat_s)
        finally:
            for worker_id in late:
                os.kill(pids[worker_id], SIGCONT)
        await scene.ready_again(late)
        how = (
            "kill -9 or SIGSTOP at any time between two heartbeats, until the run executes elsewhere; "
            f"{len(waits)} agents with a worker each, default leases"
        )
        yield _recovery("agent killed or stopped", waits, BEYOND_S, how)
        yield await _unkept(scene, f"when an agent fails; {len(late)} came back with what had been taken from them")


class _Comfyuis:
    """Has supervised ComfyUIs fail. `homes`: where the folders of their workers are."""

    def __init__(self, client: FleetClient, homes: Path) -> None:
        self._client = client
        self._homes = homes

    def signal(self, number: Signals) -> Strike:
        async def send(worker_id: str) -> None:
            os.kill(self.pid(worker_id), number)

        return send

    def fail(self, **fault: Any) -> Strike:
        """See orchestrator.simulator.comfyui.faults."""

        async def post(worker_id: str) -> None:
            url = (await self._client.get(f"/v1/workers/{worker_id}"))["url"]
            async with aiohttp.ClientSession(raise_for_status=True) as http:
                await http.post(f"{url}/simulator/faults", json=[fault])

        return post

    def pid(self, worker_id: str) -> int:
        return orjson.loads((self._homes / worker_id / "process.json").read_bytes())["pid"]


async def _false_kills(scene: Scene, comfyuis: _Comfyuis) -> Figure:
    names = scene.workers
    before = list(map(comfyuis.pid, names))
    jobs: list[Job] = []
    for slow in (
        comfyuis.fail(kind="slow_load", seconds=LOAD_S),
        comfyuis.fail(kind="stall", class_type="VAEDecode", seconds=LOAD_S),
    ):
        await asyncio.gather(*map(slow, names))
        await scene.give(len(names))
        jobs = await scene.over()
    kills = sum(comfyuis.pid(name) != pid for name, pid in zip(names, before, strict=True))
    how = (
        f"{len(jobs)} runs that load a model for {LOAD_S:g} s, or are in a node that says nothing for that long; "
        f"budgets {STEP_S:g} s a step, {NODE_S:g} s a node"
    )
    return Figure("false kills", kills + sum(len(job.runs) - 1 for job in jobs), "", 0, "at most", how)


async def _row(scene: Scene, name: str, waits: Sequence[float], budget_s: float, how: str) -> Figure:
    """Waits until those that failed are back, and has the others be next."""
    again = await scene.ready_again(scene.victims)
    scene.swap()
    how = f"{how}, until the run executes elsewhere; {len(waits)} supervised ComfyUIs" + (
        f", a budget of {budget_s:g} s" if budget_s else ""
    )
    back = f"ready again after {percentile(again, 0.5):.1f} s, the last after {max(again):.1f} s"
    return _recovery(name, waits, BEYOND_S + budget_s, how, back)


def _recovery(name: str, waits: Sequence[float], target: float, how: str, more: str = "") -> Figure:
    detail = f"p50 {percentile(waits, 0.5):.1f} s, max {max(waits):.1f} s" + (f"; {more}" if more else "")
    return Figure(f"{name}, p99", percentile(waits, 0.99), "s", target, "at most", how, detail)


async def _unkept(scene: Scene, when: str) -> Figure:
    jobs, lost, doubled = len(await scene.over()), await scene.lost(), await scene.doubled()
    detail = f"{lost} lost, {doubled} with two results committed"
    return Figure(
        f"jobs harmed {when.partition(';')[0]}", lost + doubled, "", 0, "at most", f"{jobs} jobs {when}", detail
    )
