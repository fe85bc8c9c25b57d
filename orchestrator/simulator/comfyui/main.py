"""A simulated ComfyUI as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

from orchestrator.simulator.comfyui.config import SimConfig
from orchestrator.simulator.comfyui.server import SimComfyUI


async def serve(
    config: SimConfig, host: str = "127.0.0.1", port: int = 8188, *, exit_with_parent: bool = False
) -> None:
    """Serve until SIGINT or SIGTERM, printing `ready http://HOST:PORT` once it answers.

    exit_with_parent: end when stdin does, which a parent that made it a pipe closes by dying, however it dies.
    Raises OSError when the port is taken.
    """
    async with await SimComfyUI(config, own_process=True).start(host, port) as running:
        sys.stdout.write(f"ready {running.url}\n")
        sys.stdout.flush()
        await until_told_to_end(exit_with_parent)


async def until_told_to_end(exit_with_parent: bool) -> None:
    """Wait for SIGINT or SIGTERM or, if so, for the end of stdin."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    async with asyncio.TaskGroup() as tasks:
        parent = tasks.create_task(_stdin_ends(told)) if exit_with_parent else None
        await told.wait()
        if parent is not None:
            parent.cancel()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)


async def _stdin_ends(told: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with contextlib.closing(transport):
        while await reader.read(4096):
            pass
    told.set()
