"""A client of ComfyUI itself that wants its pictures, as ComfyUI's own example of one goes about it: it posts, listens
on the websocket until a prompt is over, asks for its history, and fetches what that names.

`python -m orchestrator.cli.bench.example URL COUNT CONNECTIONS < body` posts the body COUNT times and prints one line
of JSON: {"started_at", "seconds"}. FRESH in the body becomes a new UUID in each request.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid

import aiohttp
import orjson

from orchestrator.cli.bench.load import FRESH


async def _post(http: aiohttp.ClientSession, client_id: str, body: bytes) -> None:
    prompt = orjson.loads(body.replace(FRESH, str(uuid.uuid4()).encode()))
    async with http.post("/prompt", data=orjson.dumps({**prompt, "client_id": client_id})) as response:
        response.raise_for_status()


async def _fetch(http: aiohttp.ClientSession, prompt_id: str) -> None:
    async with http.get(f"/history/{prompt_id}") as response:
        outputs = orjson.loads(await response.read())[prompt_id]["outputs"]
    for image in [image for output in outputs.values() for image in output["images"]]:
        async with http.get("/view", params=image) as response:
            response.raise_for_status()
            await response.read()


async def _over(socket: aiohttp.ClientWebSocketResponse) -> str:
    """The id of the next prompt that is over."""
    while True:
        message = orjson.loads(await socket.receive_str())
        if message["type"] == "executing" and message["data"]["node"] is None:
            return message["data"]["prompt_id"]


async def _run(url: str, count: int, connections: int, body: bytes) -> None:
    client_id = uuid.uuid4().hex
    connector = aiohttp.TCPConnector(limit=connections + 1)
    async with (
        aiohttp.ClientSession(url, connector=connector, headers={"Content-Type": "application/json"}) as http,
        http.ws_connect(f"/ws?clientId={client_id}") as socket,
        asyncio.TaskGroup() as group,
    ):
        started_at, start = time.time(), time.perf_counter()
        for _ in range(count):
            group.create_task(_post(http, client_id, body))
        fetching = [group.create_task(_fetch(http, await _over(socket))) for _ in range(count)]
        await asyncio.wait(fetching)
        seconds = time.perf_counter() - start
    sys.stdout.write(orjson.dumps({"started_at": started_at, "seconds": seconds}).decode() + "\n")


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.buffer.read()))
