"""What routing by residency is worth on real sockets: one order of jobs, through the fleet and dealt out blindly.

Four simulated ComfyUIs that take their time for loading, or real ones:

python tests/bench/routing.py [--jobs 200] [--seed 1] [--json]
python tests/bench/routing.py --jobs 24 --urls http://127.0.0.1:8188 http://127.0.0.1:8189 \\
    --checkpoints a.safetensors b.safetensors c.safetensors --size 64 --steps 2

`round-robin` and `least-queue` post straight to the ComfyUIs, as a load balancer would: when the jobs arrive, all at
once. Each begins with nothing in memory, and every graph has a seed of its own, so that nothing comes from a cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import build
from orchestrator.cli.client import FleetClient
from orchestrator.comfy.client import ComfyClient
from orchestrator.domain.ids import uuid7
from orchestrator.settings import Settings
from orchestrator.simulator.comfyui import SimComfyUI, SimConfig
from orchestrator.worker.unload import empty

GB = 10**9
SIMULATED = 4
MODELS = {"sdxl-a.safetensors": 7 * GB, "sdxl-b.safetensors": 7 * GB, "sdxl-c.safetensors": 7 * GB}
STEP_S = 0.005
POLL_S = 0.05


@dataclass(frozen=True)
class Run:
    """One strategy's: seconds from the first submission to the last end, and how often a worker changed models."""

    strategy: str
    makespan_s: float
    loads: int


@dataclass(frozen=True)
class Task:
    checkpoint: str
    graph: Mapping[str, Any]


def tasks(checkpoints: Sequence[str], options: argparse.Namespace, number: int) -> list[Task]:
    """Each checkpoint equally often, in the same random order whatever the number; the pictures differ by it."""
    order = [checkpoints[n % len(checkpoints)] for n in range(options.jobs)]
    random.Random(options.seed).shuffle(order)
    seeds = random.Random(f"{options.seed} {number}")
    return [Task(name, graph(name, seeds.getrandbits(31), options.size, options.steps)) for name in order]


def graph(checkpoint: str, seed: int, size: int, steps: int) -> Mapping[str, Any]:
    sampler = {"cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0, "seed": seed, "steps": steps}
    return {
        "4": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "5": node("EmptyLatentImage", width=size, height=size, batch_size=1),
        "6": node("CLIPTextEncode", text="a lighthouse", clip=["4", 1]),
        "3": node("KSampler", model=["4", 0], positive=["6", 0], negative=["6", 0], latent_image=["5", 0], **sampler),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="pic"),
    }


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def changes(sequences: Sequence[Sequence[str]]) -> int:
    """How many loads it takes to execute these, if each worker keeps one model."""
    return sum(1 for names in sequences for n, name in enumerate(names) if n == 0 or names[n - 1] != name)


async def dealt(strategy: str, urls: Sequence[str], work: Sequence[Task], choose: Callable[[list[int]], int]) -> Run:
    """Posted straight to the ComfyUIs. `choose`: a worker, from how many prompts each was given."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ComfyClient(url)) for url in urls]
        given: list[list[tuple[str, Task]]] = [[] for _ in clients]
        began = time.monotonic()
        for task in work:
            number = choose([len(each) for each in given])
            run_id = uuid7(time.time_ns() // 1_000_000, random.getrandbits(74))
            given[number].append((run_id, task))
            await clients[number].prompt(task.graph, run_id, None)
        for client, mine in zip(clients, given, strict=True):
            await _until(lambda client=client, last=mine[-1][0]: _ended(client, last))
        makespan = time.monotonic() - began
    return Run(strategy, makespan, changes([[task.checkpoint for _, task in mine] for mine in given]))


async def _ended(client: ComfyClient, run_id: str) -> bool:
    entry = await client.history(run_id)
    if entry is not None and not entry.succeeded:
        raise SystemExit(f"prompt {run_id} failed: {entry.failure}")
    return entry is not None


async def routed(urls: Sequence[str], work: Sequence[Task]) -> Run:
    """Through a fleet of its own."""
    async with _fleet(urls) as client:
        began = time.monotonic()
        jobs = [await client.post("/v1/jobs", {"workflow": task.graph, "timeout_s": 3600.0}) for task in work]
        found: dict[str, Any] = {}

        async def all_ended() -> bool:
            for job in jobs:
                if job["id"] not in found:
                    now = await client.get(f"/v1/jobs/{job['id']}")
                    if now["status"] not in ("succeeded", "failed"):
                        return False
                    found[job["id"]] = now
            return True

        await _until(all_ended)
        makespan = time.monotonic() - began
    if failed := [job for job in found.values() if job["status"] == "failed"]:
        raise SystemExit(f"job {failed[0]['id']} failed: {failed[0]['error']['message']}")
    sequences: dict[str, list[tuple[str, str]]] = {}
    for job, task in zip(jobs, work, strict=True):
        ended = found[job["id"]]
        sequences.setdefault(ended["runs"][-1]["worker"], []).append((ended["completed_at"], task.checkpoint))
    return Run("comfyfleet", makespan, changes([[name for _, name in sorted(each)] for each in sequences.values()]))


@asynccontextmanager
async def _fleet(urls: Sequence[str]) -> AsyncIterator[FleetClient]:
    with tempfile.TemporaryDirectory() as folder:
        workers = [{"id": f"w{n}", "url": url} for n, url in enumerate(urls)]
        settings = Settings(listen="127.0.0.1:0", data_dir=Path(folder), workflows=None, workers=workers)  # type: ignore[arg-type]
        base: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        serving = asyncio.create_task(build.up(settings, stop, base.set_result))
        async with FleetClient(await base) as client:
            await _until(lambda: _all_ready(client, len(urls)))
            yield client
        stop.set()
        await serving


async def _all_ready(client: FleetClient, count: int) -> bool:
    workers = (await client.get("/v1/workers"))["workers"]
    return [worker["state"] for worker in workers] == ["ready"] * count


async def _until(reached: Callable[[], Awaitable[bool]]) -> None:
    while not await reached():
        await asyncio.sleep(POLL_S)


async def forget(urls: Sequence[str]) -> None:
    """Nothing is in any memory."""
    for url in urls:
        async with ComfyClient(url) as client:
            await empty(client, lambda: None)


@asynccontextmanager
async def simulated(count: int) -> AsyncIterator[list[str]]:
    """ComfyUIs that hold one model at a time, and read it in 1.4 s from disk, or 0.6 s from RAM."""
    config = SimConfig(
        vram_bytes=10 * GB, ram_bytes=64 * GB, disk_speed=8.75 * GB, bus_speed=12 * GB, step_seconds=STEP_S,
        models={"checkpoints": MODELS},
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        running = [await SimComfyUI(config).start() for _ in range(count)]
        for each in running:
            stack.push_async_callback(each.stop)
        yield [each.url for each in running]


@asynccontextmanager
async def given(urls: Sequence[str]) -> AsyncIterator[list[str]]:
    yield list(urls)


async def measure(options: argparse.Namespace) -> list[Run]:
    source = given(options.urls) if options.urls else simulated(SIMULATED)
    async with source as urls:
        runs: list[Run] = []
        strategies: list[Callable[[Sequence[Task]], Awaitable[Run]]] = [
            lambda work: routed(urls, work),
            lambda work: dealt("round-robin", urls, work, lambda given: sum(given) % len(given)),
            lambda work: dealt("least-queue", urls, work, lambda given: given.index(min(given))),
        ]
        checkpoints = options.checkpoints or list(MODELS)
        for number, strategy in enumerate(strategies):
            await forget(urls)
            runs.append(await strategy(tasks(checkpoints, options, number)))
        return runs


def main() -> None:
    parser = argparse.ArgumentParser(description="Makespan and loads of a batch, routed and dealt out.")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--urls", nargs="*", default=[])
    parser.add_argument("--checkpoints", nargs="*", default=[])
    parser.add_argument("--json", action="store_true")
    runs = asyncio.run(measure(options := parser.parse_args()))
    if options.json:
        print(json.dumps([run.__dict__ for run in runs]))
        return
    blind = min(run.makespan_s for run in runs[1:]) if len(runs) > 1 else runs[0].makespan_s
    for run in runs:
        share = run.makespan_s / blind
        print(f"{run.strategy:12} {run.makespan_s:7.1f} s  {run.loads:4} loads  {share:.2f} of the better blind one")


if __name__ == "__main__":
    main()
