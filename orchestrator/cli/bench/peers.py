"""The Comfy API v2 of the fleet beside the official proxy's, in front of the same ComfyUI, in turn, in one run.

The clients are those of clients.py: submit, and poll to the end. The proxy passes a job on and keeps nothing. The fleet
validates it, commits it durably, dispatches it, brings its output into storage and commits the result: that is in its
figures, and not in the proxy's.
"""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import orjson

from orchestrator.cli.bench.figures import Figure
from orchestrator.cli.bench.fleet import Ground, elsewhere, process_cpu_s
from orchestrator.cli.bench.load import FRESH
from orchestrator.cli.bench.measures import bench_worker, spans
from orchestrator.cli.bench.workload import TRIVIAL
from orchestrator.cli.children import child

COUNT, ROUNDS, WARM_UP = 150, 3, 50
_SAVE = {**TRIVIAL["2"], "inputs": {**TRIVIAL["2"]["inputs"], "filename_prefix": FRESH.decode()}}
_BODY = orjson.dumps({"workflow": {**TRIVIAL, "2": _SAVE}})


@dataclass
class _Way:
    """One of the two, over its rounds."""

    url: str
    cpu_s: Callable[[], float]
    began: list[float] = field(default_factory=list[float])  # Unix seconds of the first submission
    cpu_ms: list[float] = field(default_factory=list[float])  # a job

    async def serve(self, count: int) -> None:
        before = self.cpu_s()
        seen = await elsewhere("clients", self.url, count, body=_BODY)
        self.cpu_ms.append((self.cpu_s() - before) / count * 1000)
        self.began.append(seen["started_at"])


async def api_v2(ground: Ground) -> AsyncIterator[Figure]:
    path = ground.folder / "api_v2.json"
    async with (
        bench_worker(path, 0.0) as comfyui,
        child("orchestrator.cli.bench.yardstick", comfyui.url) as proxy,
        ground.fleet("api-v2", [comfyui.url]) as fleet,
    ):
        ways = (_Way(proxy.url, lambda: process_cpu_s(proxy.pid)), _Way(fleet.client.url, fleet.cpu_s))
        for way in ways:
            await way.serve(WARM_UP)
        for _ in range(ROUNDS):
            for way in ways:
                await way.serve(COUNT)
    ran = spans(path)[2 * WARM_UP :]
    ends = [ran[n + COUNT - 1][1] / 1000 for n in range(0, len(ran), COUNT)]  # the proxy's, the fleet's, and so on
    rates = [
        statistics.median(COUNT / (end - began) for end, began in zip(ends[n::2], way.began[1:], strict=True))
        for n, way in enumerate(ways)
    ]
    theirs, ours = (statistics.median(way.cpu_ms[1:]) for way in ways)
    how = (
        f"{ROUNDS} rounds in turn of {COUNT} clients, submit and poll as the SDK does; EmptyImage 512x512 -> SaveImage"
    )
    told = f"{rates[1]:.0f} jobs/s, comfy-api-proxy {rates[0]:.0f}"
    yield Figure("API v2, jobs/s", rates[1] / rates[0], "of the proxy's", 1.0, "at least", how, told)
    how = "the same; controller, driver and Redis until the result is committed; the proxy keeps nothing"
    yield Figure("API v2, CPU per job", ours, "ms", 3.0, "at most", how, f"comfy-api-proxy {theirs:.2g} ms")
