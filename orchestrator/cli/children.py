"""Commands of ours in processes of their own: simulated ComfyUIs for people without a GPU, and the parts of a bench.

A child is in a session of its own, so that Ctrl-C at the terminal reaches it only through us: `up` drains first. And
a simulated ComfyUI never outlives us: its stdin is a pipe, which closes when we end, however we end.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import FleetError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 90.0  # `up` drains first
SIM_WORKER = ("orchestrator", "sim-worker", "--port", "0", "--exit-with-parent")


@dataclass(frozen=True, slots=True)
class Child:
    """A running command that has said `ready URL`."""

    url: str
    pid: int


@asynccontextmanager
async def started(module: str, *args: str, log: Path | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs `python -m MODULE ARGS...` until the body ends. Its stderr goes to the file `log`, else to ours."""
    with log.open("ab") if log else nullcontext() as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *args,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        await _stop(process)


@asynccontextmanager
async def child(module: str, *args: str, log: Path | None = None) -> AsyncIterator[Child]:
    """The same, of one that says when it is ready."""
    async with started(module, *args, log=log) as process:
        url = await _ready(process, " ".join((module, *args)), log)
        reading = asyncio.create_task(_drain(process))  # so that what it prints later never blocks it
        yield Child(url, process.pid)
        reading.cancel()


@asynccontextmanager
async def simulated_comfyuis(count: int) -> AsyncIterator[list[str]]:
    """Their URLs. They hold a few pretend model files, so that the workflows that come with comfyfleet run on them."""
    async with AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as group:
            starting = [group.create_task(stack.enter_async_context(child(*SIM_WORKER))) for _ in range(count)]
        yield [task.result().url for task in starting]


async def _ready(process: asyncio.subprocess.Process, command: str, log: Path | None) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            async for line in process.stdout:
                word, _, url = line.decode().strip().partition(" ")
                if word == "ready":
                    return url
    except TimeoutError:
        raise FleetError("child_failed", f"{command} did not get ready within {START_TIMEOUT_S:.0f} s") from None
    told = f"it says: {log.read_text()[-500:]}" if log else "it says why above"
    raise FleetError("child_failed", f"{command} ended with {await process.wait()}; {told}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    while await process.stdout.read(1 << 16):
        pass


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):  # it ended already
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
