"""A whole fleet in processes of its own, so that the bench measures it and not itself."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
import yaml
from redis.asyncio import Redis

from orchestrator.cli.bench.workload import WORKFLOWS
from orchestrator.cli.children import child
from orchestrator.cli.client import FleetClient
from orchestrator.domain.job import JobStatus
from orchestrator.errors import FleetError
from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.simulator.comfyui import SimComfyUI, SimConfig
from orchestrator.store.embedded import EmbeddedRedis
from orchestrator.store.redis import RedisStore

T = TypeVar("T")

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

    def kernel_s(self) -> float:
        """Those of them that went by in the kernel."""
        return _cpu_s(self.up_pid)[1] + _cpu_s(self.redis_pid)[1]

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
        async with self.up(name, attached(comfyuis), len(comfyuis)) as fleet:
            yield fleet

    @asynccontextmanager
    async def up(
        self, name: str, entries: Sequence[Mapping[str, Any]], workers: int, **settings: Any
    ) -> AsyncIterator[Fleet]:
        """The same, of any entries for fleet.yaml, which are so many workers."""
        config = str(self.config(name, entries, **settings))
        command = ("orchestrator", "up", "--config", config, "--port", "0")
        async with (
            self.store(name) as store,
            child(*command, log=self.folder / f"{name}.log") as up,
            FleetClient(up.url) as client,
        ):
            for workflow in WORKFLOWS:
                await client.post("/v1/workflows", workflow)
            await ready(client, workers)
            yield Fleet(client, store, up.pid, self.redis_pid)

    @asynccontextmanager
    async def store(self, name: str) -> AsyncIterator[RedisStore]:
        """That fleet's, for asking it and not who is measured."""
        store = await RedisStore.connect(self.redis_url, name, LeaseSettings(), RetentionSettings(), LimitSettings())
        yield store
        await store.close()

    def config(self, name: str, entries: Sequence[Mapping[str, Any]], role: str = "", **settings: Any) -> Path:
        """A fleet.yaml; `role` tells those of one fleet apart."""
        path = self.folder / f"{name}{role}.yaml"
        redis = {"url": self.redis_url, "namespace": name}
        data_dir = str(self.folder / name)
        path.write_text(
            yaml.safe_dump(
                {"data_dir": data_dir, "workflows": None, "redis": redis, "workers": list(entries), **settings}
            )
        )
        return path


@asynccontextmanager
async def simulated(count: int, config: SimConfig) -> AsyncIterator[list[str]]:
    """The URLs of ComfyUIs in this process, for where they are not what is measured."""
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(await SimComfyUI(config).start()) for _ in range(count)]
        yield [each.url for each in running]


def attached(comfyuis: Sequence[str]) -> list[dict[str, Any]]:
    """Entries for fleet.yaml."""
    return [{"url": url, "id": f"comfyui-{n}"} for n, url in enumerate(comfyuis)]


async def ready(client: FleetClient, count: int) -> None:
    """Waits until so many workers are."""

    async def reached() -> bool:
        states = [worker["state"] for worker in (await client.get("/v1/workers"))["workers"]]
        return states.count("ready") == count

    await until(reached, "the workers to be ready")


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
    result = await elsewhere("load", url, count, connections, body=orjson.dumps(body))
    if refused := {status: n for status, n in result["answers"].items() if not status.startswith("2")}:
        raise FleetError("bench_failed", f"{url} answered {refused} instead of taking the jobs of the bench")
    return result


async def elsewhere(module: str, url: str, *counts: int, body: bytes) -> Any:
    """What a client of the bench prints, which is in a process of its own so as not to be measured with the fleet."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"orchestrator.cli.bench.{module}", url, *map(str, counts),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate(body)
    if process.returncode:
        raise FleetError("bench_failed", f"the {module} for {url} ended with {process.returncode}; see above")
    return orjson.loads(printed)


async def until(condition: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Polls the async condition for its first truthy answer; raises FleetError when none comes in time."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                if answer := await condition():
                    return answer
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise FleetError("bench_failed", f"waited {TIMEOUT_S:.0f} s for {what}, in vain") from None


def resident_bytes(pid: int) -> int:
    """What the process has in memory, from /proc."""
    return int(_proc(pid, "statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def process_cpu_s(pid: int) -> float:
    """User and system CPU seconds of the process and its threads, from /proc."""
    return sum(_cpu_s(pid))


def _cpu_s(pid: int) -> tuple[float, float]:
    """CPU seconds outside the kernel, and in it."""
    fields = _proc(pid, "stat").rpartition(")")[2].split()
    second = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / second, int(fields[12]) / second


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except FileNotFoundError:
        raise FleetError("bench_failed", "the bench looks at processes in /proc: run it on Linux") from None
