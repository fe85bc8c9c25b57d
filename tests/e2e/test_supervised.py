"""Nobody starts ComfyUI by hand: two real ones from one checkout on the CPU, killed, stopped, too large, and orphaned.

Each start takes a real ComfyUI some ten seconds, so one story tells it all.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.cli.client import FleetClient
from tests.fixtures.real_comfyui import find_comfyui
from tests.fixtures.up import Node, Up, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

LIMIT_GB = 2.0  # one that was just started holds some 0.9


def blurred(color: int) -> dict[str, Any]:
    """A graph that computes for a while, without a model; another one for each color."""
    return {
        "1": node("EmptyImage", width=1024, height=1024, batch_size=1, color=color),
        "2": node("ImageBlur", image=["1", 0], blur_radius=14, sigma=9.0),
        "3": node("SaveImage", images=["2", 0], filename_prefix="blurred"),
    }


def large() -> dict[str, Any]:
    """A graph whose first result is 1.6 GB, which ComfyUI keeps."""
    return {
        "1": node("EmptyImage", width=1024, height=1024, batch_size=128, color=7),
        "2": node("ImageFromBatch", image=["1", 0], batch_index=0, length=1),
        "3": node("SaveImage", images=["2", 0], filename_prefix="small"),
    }


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


class Fleet:
    """What the test asks of it."""

    def __init__(self, client: FleetClient) -> None:
        self.client = client

    async def workers(self) -> dict[str, dict[str, Any]]:
        return {worker["id"]: worker for worker in (await self.client.get("/v1/workers"))["workers"]}

    async def states(self) -> set[str]:
        return {worker["state"] for worker in (await self.workers()).values()}

    async def ready(self) -> None:
        async def both() -> bool:
            return await self.states() == {"ready"}

        await until(both, "both workers to be ready")

    async def executing(self, graph: dict[str, Any]) -> tuple[str, str]:
        """A new job, and the worker that executes it."""
        job_id = (await self.client.post("/v1/jobs", {"workflow": graph}))["id"]
        found: list[str] = []

        async def begun() -> bool:
            job = await self.client.get(f"/v1/jobs/{job_id}")
            assert job["status"] in ("queued", "running"), job
            found[:] = [run["worker"] for run in job["runs"] if run["state"] == "running"]
            return bool(found)

        await until(begun, "the job to execute")
        return job_id, found[0]

    async def succeeded(self, job_id: str) -> list[str]:
        """The workers of its runs."""

        async def over() -> bool:
            return (await self.client.get(f"/v1/jobs/{job_id}"))["status"] == "succeeded"

        await until(over, "the job to succeed")
        job = await self.client.get(f"/v1/jobs/{job_id}")
        assert [run["state"] for run in job["runs"]].count("succeeded") == 1
        return [run["worker"] for run in job["runs"]]

    async def told(self, worker: str, words: str) -> bool:
        changes = (await self.client.get(f"/v1/workers/{worker}"))["changes"]
        return any(words in (change["note"] or "") for change in changes)

    async def process(self, worker: str) -> int:
        """The id of its ComfyUI's process, which its port tells."""
        port = (await self.workers())[worker]["url"].rsplit(":", 1)[1]
        return next(pid for pid, command in living() if f"--port {port} " in command)


def living() -> Iterator[tuple[int, str]]:
    """The ids of the processes that live, and their command lines."""
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and (command := (folder / "cmdline").read_bytes()):  # that of the dead is empty
                yield int(folder.name), command.replace(b"\0", b" ").decode(errors="replace")


async def elsewhere(fleet: Fleet, number: signal.Signals, said: str) -> None:
    """The ComfyUI that executes a run is sent a signal: the run ends on the other, and it is replaced."""
    job_id, first = await fleet.executing(blurred(color=number))
    pid = await fleet.process(first)
    sent_at = time.monotonic()
    os.kill(pid, number)
    runs = await fleet.succeeded(job_id)
    print(f"{number.name}: the run was done elsewhere after {time.monotonic() - sent_at:.1f} s")
    assert len(runs) == 2
    assert runs[0] == first != runs[1]
    await fleet.ready()
    print(f"{number.name}: the worker was back after {time.monotonic() - sent_at:.1f} s")
    assert await fleet.told(first, said)
    assert await fleet.process(first) != pid


async def test_two_from_one_checkout_through_everything(node: Node) -> None:
    comfyui = find_comfyui()
    entry = {
        "comfyui": str(comfyui.directory), "python": str(comfyui.python), "devices": ["cpu", "cpu"], "id": "n",
        "args": ["--disable-api-nodes"], "required_classes": ["ImageBlur"], "recycle": {"rss_gb": LIMIT_GB},
    }  # fmt: skip
    node.configure(workers=[entry])
    up = await node.up()
    fleet = Fleet(up.fleet)
    await fleet.ready()
    assert set(await fleet.workers()) == {"n-cpu0", "n-cpu1"}
    for worker in (await fleet.workers()).values():
        assert (worker["kind"], worker["device"]) == ("supervised", "cpu")
        async with aiohttp.ClientSession() as http, http.get(f"{worker['url']}/fleet/residency") as answer:
            assert (await answer.json())["schema"] == 1  # our node pack

    await elsewhere(fleet, signal.SIGKILL, "it was killed (SIGKILL)")
    await elsewhere(fleet, signal.SIGSTOP, "was stopped by a signal")
    await recycled(fleet)
    await orphaned(up, node)


async def recycled(fleet: Fleet) -> None:
    job_id = (await fleet.client.post("/v1/jobs", {"workflow": large()}))["id"]
    [worker] = await fleet.succeeded(job_id)

    async def noted() -> bool:
        return await fleet.told(worker, f"recycle.rss_gb is {LIMIT_GB:g}")

    await until(noted, "it to be recycled")


async def orphaned(up: Up, node: Node) -> None:
    """The agent is killed in mid-run: the next one takes the ComfyUI over, and the run goes on."""
    fleet = Fleet(up.fleet)
    job_id, worker = await fleet.executing(blurred(color=0))
    pid = await fleet.process(worker)
    await up.kill()
    again = await node.up()
    fleet = Fleet(again.fleet)
    assert await fleet.succeeded(job_id) == [worker]
    assert await fleet.process(worker) == pid
    assert await again.stop() == 0
    assert pid not in dict(living())
