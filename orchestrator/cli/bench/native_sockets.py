"""What a client of ComfyUI's own API costs while it listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import monotonic

import aiohttp

from orchestrator.cli.bench.figures import Figure
from orchestrator.cli.bench.fleet import Ground, attached, ready, resident_bytes, simulated
from orchestrator.cli.children import child, started
from orchestrator.cli.client import FleetClient
from orchestrator.simulator.comfyui import SimConfig

SOCKETS = 200
WORKERS = 2
TARGET_KB = 250.0
_GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


async def native_sockets(ground: Ground) -> AsyncIterator[Figure]:
    """Each hears a job of its own to its end."""
    log = ground.folder / "native.log"
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(simulated(WORKERS, SimConfig()))
        config = str(ground.config("native", attached(urls)))
        command = ("orchestrator", "controller", "--config", config, "--port", "0")
        controller = await stack.enter_async_context(child(*command, log=log))
        await stack.enter_async_context(started("orchestrator", "agent", "--config", config, log=log))
        await ready(await stack.enter_async_context(FleetClient(controller.url)), WORKERS)
        unlimited = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(controller.url, connector=unlimited))
        before = resident_bytes(controller.pid)
        sockets = [await http.ws_connect(f"/ws?clientId=bench-{n}") for n in range(SOCKETS)]
        await asyncio.gather(*(socket.receive() for socket in sockets))
        memory_kb = (resident_bytes(controller.pid) - before) / SOCKETS / 1000
        begun = monotonic()
        await asyncio.gather(*(_hear_out(http, socket, f"bench-{n}") for n, socket in enumerate(sockets)))
        took = monotonic() - begun
        await asyncio.gather(*(socket.close() for socket in sockets))
    how = f"{SOCKETS} websockets of ComfyUI's own API, resident memory of the controller over that before them"
    detail = f"then {SOCKETS} jobs on {WORKERS} workers, each heard to its end by its client: {took:.1f} s"
    yield Figure("memory of a native client", memory_kb, "kB", TARGET_KB, "at most", how, detail)


async def _hear_out(http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, client_id: str) -> None:
    body = {"prompt": _GRAPH, "client_id": client_id}
    async with http.post("/prompt", json=body, raise_for_status=True) as answer:
        prompt_id = (await answer.json())["prompt_id"]
    async for message in socket:
        said = message.json()
        if said["type"] == "executing" and said["data"] == {"node": None, "prompt_id": prompt_id}:
            return
