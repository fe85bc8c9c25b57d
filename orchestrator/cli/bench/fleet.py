"""A whole fleet in processes of its own, so that the bench measures it and not itself."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml
from redis.asyncio import Redis

from orchestrator.cli.bench.workload import WORKFLOWS
from orchestrator.cli.children import child
from orchestrator.cli.client import FleetClient
from orchestrator.domain.job import JobStatus
from orchestrator.errors import FleetError
from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.store.embedded import EmbeddedRedis
from orchestrator.store.redis import RedisStore

TIMEOUT_S = 120.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Fleet:
    """A running fleet with the workflows of workload.py, and all its workers ready."""

    client: FleetClient
    store: RedisStore
    up_pid: int
    redis_pid: int

    def cpu_s(self) -> float:
        """CPU seconds that its controller, its drivers and its Redis have used so far."""
        return process_cpu_s(self.up_pid) + process_cpu_s(self.redis_pid)

    async def succeeded(self, count: int) -> None:
        """Waits until that many jobs have succeeded, asking the store and not the controller that is measured."""

        async def reached() -> bool:
            jobs = (await self.store.counts()).jobs
            if failed := jobs.get(JobStatus.FAILED, 0):
                raise FleetError(
                    "bench_failed", f"{failed} jobs of the bench failed: comfyfleet bench measures nothing"
                )
            return jobs.get(JobStatus.SUCCEEDED, 0) >= count

        await until(reached, f"{count} jobs to succeed")


@dataclass(frozen=True, slots=True)
class Ground:
    """What the fleets of one bench stand on: a Redis with its production settings, and a folder on this disk."""

    folder: Path
    redis_url: str
    redis_pid: int

    @asynccontextmanager
    async def fleet(self, name: str, comfyuis: Sequence[str]) -> AsyncIterator[Fleet]:
        """A fleet of its own in that Redis, with these ComfyUIs attached."""
        config = self.folder / f"{name}.yaml"
        workers = [{"url": url, "id": f"comfyui-{n}"} for n, url in enumerate(comfyuis)]
        redis = {"url": self.redis_url, "namespace": name}
        data_dir = str(self.folder / name)
        config.write_text(yaml.safe_dump({"data_dir": data_dir, "workflows": None, "redis": redis, "workers": workers}))
        store = await RedisStore.connect(self.redis_url, name, LeaseSettings(), RetentionSettings(), LimitSettings())
        command = ("orchestrator", "up", "--config", str(config), "--port", "0")
        async with child(*command, log=self.folder / f"{name}.log") as up, FleetClient(up.url) as client:
            for workflow in WORKFLOWS:
                await client.post("/v1/workflows", workflow)

            async def ready() -> bool:
                states = [worker["state"] for worker in (await client.get("/v1/workers"))["workers"]]
                return states.count("ready") == len(comfyuis)

            await until(ready, "the workers to be ready")
            yield Fleet(client, store, up.pid, self.redis_pid)
        await store.close()


@asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    """On the disk of the working directory: a temporary folder may be in memory, where durability costs nothing."""
    data = Path("data").resolve()
    data.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data) as name:
        folder = Path(name)
        redis = await EmbeddedRedis.start(folder)
        try:
            async with Redis.from_url(redis.url) as connection:
                info: Mapping[str, Any] = await connection.info("server")
            yield Ground(folder, redis.url, int(info["process_id"]))
        finally:
            await redis.stop()


async def load(url: str, body: Mapping[str, Any], count: int, connections: int) -> dict[str, Any]:
    """Posts the body COUNT times from another process; {started_at, seconds}. Raises FleetError unless all were 2xx."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator.cli.bench.load", url, str(count), str(connections),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate(orjson.dumps(body))
    if process.returncode:
        raise FleetError("bench_failed", f"the load generator for {url} ended with {process.returncode}; see above")
    result = orjson.loads(printed)
    if refused := {status: n for status, n in result["answers"].items() if not status.startswith("2")}:
        raise FleetError("bench_failed", f"{url} answered {refused} instead of taking the jobs of the bench")
    return result


async def until(condition: Callable[[], Any], what: str) -> None:
    """Polls the async condition; raises FleetError when it does not come true in time."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                if await condition():
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise FleetError("bench_failed", f"waited {TIMEOUT_S:.0f} s for {what}, in vain") from None


def process_cpu_s(pid: int) -> float:
    """User and system CPU seconds of the process and its threads, from /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        raise FleetError("bench_failed", "the bench reads CPU times from /proc: run it on Linux") from None
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
