"""Speed, one function a figure: each makes its own fleet, measures, and says how it did."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

import orchestrator
from orchestrator.cli.bench.figures import Figure, percentile
from orchestrator.cli.bench.fleet import Fleet, Ground, elsewhere, load, until
from orchestrator.cli.bench.load import FRESH
from orchestrator.cli.bench.workload import SMALL, TRIVIAL
from orchestrator.cli.children import Child, child, simulated_comfyuis
from orchestrator.comfy.client import ComfyClient
from orchestrator.errors import FleetError

CONNECTIONS = 32
DECISION = Path(orchestrator.__file__).parent.parent / "tests" / "bench" / "decision.py"
Measure = Callable[[Ground], AsyncIterator[Figure]]
Span = tuple[int, int]  # when a run began and ended on ComfyUI, in Unix milliseconds


async def submits(ground: Ground) -> AsyncIterator[Figure]:
    """The worker is drained: it tells what graphs are checked against, and takes nothing off the controller's time."""
    count, warm_up = 6000, 500
    body = {"params": {"prompt": "a lighthouse at dusk"}}
    async with simulated_comfyuis(1) as urls, ground.fleet("submits", urls) as fleet:
        await fleet.client.post("/v1/workers/comfyui-0/drain")
        url = f"{fleet.client.url}/v1/workflows/ten-nodes/jobs"
        await load(url, body, warm_up, CONNECTIONS)
        before = fleet.cpu_s()
        result = await load(url, body, count, CONNECTIONS)
        used = (fleet.cpu_s() - before) / count * 1000
    how = f"{count} jobs of 10 nodes through /v1, {CONNECTIONS} connections, appendfsync always, load from elsewhere"
    detail = f"{used:.2f} ms of CPU each, controller and Redis"
    yield Figure("durable submits", count / result["seconds"], "/s", 1500, "at least", how, detail)


async def cpu_per_job(ground: Ground) -> AsyncIterator[Figure]:
    """What is the kernel's is told apart, as it is not only of our making: an ext4 without a journal, for one, looks at
    every file that was deleted in the last minutes before it makes a new one, which after a run of tests, or another
    bench, is most of a millisecond a job."""
    count, warm_up = 800, 50
    async with simulated_comfyuis(2) as urls, ground.fleet("cpu", urls) as fleet:
        await _through(fleet, SMALL, warm_up, 0)
        before, kernel_before = fleet.cpu_s(), fleet.kernel_s()
        await _through(fleet, SMALL, count, warm_up)
        used, kernel = fleet.cpu_s() - before, fleet.kernel_s() - kernel_before
    how = f"{count} jobs with a PNG of 64x64, submit to succeeded, 2 simulated ComfyUIs in processes of their own"
    detail = f"{kernel / count * 1000:.2f} ms of it in the kernel: files, their two fsyncs each, sockets"
    yield Figure("CPU per job", used / count * 1000, "ms", 3.0, "at most", how, detail)


async def saturation(ground: Ground) -> AsyncIterator[Figure]:
    """Beside jobs that are posted to the same ComfyUI and left there, and beside such whose pictures are fetched."""
    count, rounds, warm_up = 200, 5, 50
    path = ground.folder / "saturation.json"
    began: list[float] = []
    fetched: list[float] = []
    through: list[float] = []
    async with bench_worker(path, 0.0) as comfyui, ground.fleet("saturation", [comfyui.url]) as fleet:
        await _through(fleet, TRIVIAL, warm_up, 0)
        for n in range(rounds):
            began.append(await _straight(comfyui.url, TRIVIAL, count))
            example = await elsewhere("example", comfyui.url, count, CONNECTIONS, body=orjson.dumps(_prompt(TRIVIAL)))
            fetched.append(count / example["seconds"])
            through.append(count / await _through(fleet, TRIVIAL, count, warm_up + n * count))
    ran = spans(path)[warm_up:]
    turns = [ran[n : n + count] for n in range(0, len(ran), count)]  # straight, fetched, through the fleet, ...
    straight = [count / (turn[-1][1] / 1000 - start) for turn, start in zip(turns[::3], began, strict=True)]
    rate, most, of_them = map(statistics.median, (through, straight, fetched))
    how = f"{rounds} rounds in turn of {count} jobs EmptyImage 512x512 -> SaveImage, medians; all ways one ComfyUI"
    busy, alone = (statistics.median(map(_busy, turns[n::3])) for n in (2, 1))
    detail = f"{rate:.0f} jobs/s through the fleet, {most:.0f} straight; ComfyUI executes {busy:.0%} of the time"
    yield Figure("saturation", rate / most, "of direct", 0.9, "at least", how, detail)
    how = "the same, beside a client of ComfyUI that listens and fetches history and picture, as ComfyUI's example does"
    detail = f"{of_them:.0f} jobs/s by that client; ComfyUI executes {alone:.0%} of the time"
    yield Figure("saturation, results fetched", rate / of_them, "of direct", 0.9, "at least", how, detail)


async def idle_gap(ground: Ground) -> AsyncIterator[Figure]:
    count = 300
    path = ground.folder / "idle_gap.json"
    async with bench_worker(path, 0.02) as comfyui, ground.fleet("idle-gap", [comfyui.url]) as fleet:
        await load(f"{fleet.client.url}/v1/workflows/steady/jobs", {"params": {}}, count, CONNECTIONS)
        await fleet.succeeded(count)
    ran = spans(path)
    gaps = [float(began - ended) for (_, ended), (began, _) in pairwise(ran)]
    length = statistics.median(ended - began for began, ended in ran)
    how = f"{count} runs of about {length:.0f} ms on one worker, by ComfyUI's own execution_start and execution_success"
    detail = f"p50 {percentile(gaps, 0.5):.0f} ms, max {max(gaps):.0f} ms"
    yield Figure("idle gap, p99", percentile(gaps, 0.99), "ms", 5.0, "at most", how, detail)


async def submit_to_running(ground: Ground) -> AsyncIterator[Figure]:
    count, warm_up = 50, 5
    waits: list[float] = []
    async with simulated_comfyuis(1) as urls, ground.fleet("latency", urls) as fleet:
        for n in range(warm_up + count):
            sent_at = time.time()
            job = await fleet.client.post("/v1/jobs?wait=30", {"workflow": SMALL})
            started_at = datetime.fromisoformat(job["started_at"]).timestamp()
            if n >= warm_up:
                waits.append((started_at - sent_at) * 1000)
            await asyncio.sleep(0.02)  # the fleet is idle again
    how = f"{count} jobs one after the other on an idle fleet, from before the POST to the job's started_at"
    detail = f"p99 {percentile(waits, 0.99):.1f} ms"
    yield Figure("submit to running, p50", percentile(waits, 0.5), "ms", 15.0, "at most", how, detail)


async def decision(ground: Ground) -> AsyncIterator[Figure]:
    """The script of the scheduling package's own bench, in a process of its own."""
    workers, sizes = 1000, (10_000, 100_000, 1_000_000)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(DECISION), "--workers", str(workers), "--queued", *map(str, sizes), "--json",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    if process.returncode:
        raise FleetError("bench_failed", f"{DECISION} ended with {process.returncode}; see above")
    smaller, small, found = map(orjson.loads, printed.splitlines())
    how = (
        f"{workers:,} workers, {sizes[-1]:,} queued runs, 1,000 sets of models, 1,000 tenants; "
        "CPU time of decide() for each placement"
    )
    detail = (
        f"p50 {found['p50_us']:.0f} us; p99 {smaller['p99_us']:.0f} with {sizes[0]:,} queued, "
        f"{small['p99_us']:.0f} with {sizes[1]:,}; an arrival {found['arrival_p50_us']:.0f} us, "
        f"a completion {found['completion_p50_us']:.0f} us; {found['bytes_per_run']:.0f} bytes of index a queued run"
    )
    yield Figure("decision, p99", found["p99_us"], "us", 50.0, "at most", how, detail)


async def _through(fleet: Fleet, graph: Mapping[str, Any], count: int, done: int) -> float:
    """Sends jobs to a fleet that has done `done` already; seconds from the first submission to the last success."""
    result = await load(f"{fleet.client.url}/v1/jobs", {"workflow": graph}, count, CONNECTIONS)
    await fleet.succeeded(done + count)
    newest = (await fleet.client.get("/v1/jobs", limit=min(count, 500)))["jobs"]
    last = max(datetime.fromisoformat(job["completed_at"]).timestamp() for job in newest)
    return last - result["started_at"]


async def _straight(url: str, graph: Mapping[str, Any], count: int) -> float:
    """Posts the same jobs to ComfyUI itself and waits until it has done them; when the first was posted."""
    result = await load(f"{url}/prompt", _prompt(graph), count, CONNECTIONS)
    async with ComfyClient(url) as comfyui:

        async def empty() -> bool:
            queue = await comfyui.queue()
            return not queue.running and not queue.pending

        await until(empty, "ComfyUI to finish")
    return float(result["started_at"])


def _prompt(graph: Mapping[str, Any]) -> dict[str, Any]:
    """What ComfyUI is sent, which executes it each time."""
    save = {**graph["2"], "inputs": {**graph["2"]["inputs"], "filename_prefix": FRESH.decode()}}
    return {"prompt": {**graph, "2": save}}


def bench_worker(path: Path, step_seconds: float) -> AbstractAsyncContextManager[Child]:
    """A ComfyUI that leaves in the file, at its end, when its runs began and ended."""
    return child("orchestrator.cli.bench.worker", str(path), str(step_seconds))


def spans(path: Path) -> list[Span]:
    """What it left."""
    return [(began, ended) for began, ended in orjson.loads(path.read_bytes())]


def _busy(turn: Sequence[Span]) -> float:
    """The share of the time from the first run to the last in which one executed."""
    return sum(ended - began for began, ended in turn) / (turn[-1][1] - turn[0][0])
