"""Clients of the Comfy API v2 as their SDK makes them: each submits a job and polls it until it has ended.

`python -m orchestrator.cli.bench.clients URL COUNT < body` has COUNT of them at once and prints one line of JSON:
{"started_at": Unix seconds, "statuses": {status: count}}. FRESH in the body becomes a new UUID in each.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections import Counter

import aiohttp
import orjson

from orchestrator.cli.bench.load import FRESH

CONNECTIONS = 32
ENDS = frozenset({"succeeded", "failed", "canceled", "expired"})
# The pauses of the official SDK's wait().
FIRST_PAUSE_S, GROWTH, LAST_PAUSE_S = 0.5, 1.5, 5.0


async def _job(http: aiohttp.ClientSession, body: bytes) -> str:
    fresh = body.replace(FRESH, str(uuid.uuid4()).encode())
    async with http.post("/api/v2/jobs", data=fresh) as response:
        response.raise_for_status()
        job = orjson.loads(await response.read())
    pause_s = FIRST_PAUSE_S
    while True:
        async with http.get(f"/api/v2/jobs/{job['id']}") as response:
            response.raise_for_status()
            status = orjson.loads(await response.read())["status"]
        if status in ENDS:
            return status
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * GROWTH, LAST_PAUSE_S)


async def _run(url: str, count: int, body: bytes) -> None:
    started_at = time.time()
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(url, connector=connector, headers=headers) as http:
        statuses = Counter(await asyncio.gather(*(_job(http, body) for _ in range(count))))
    sys.stdout.write(orjson.dumps({"started_at": started_at, "statuses": statuses}).decode() + "\n")


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2]), sys.stdin.buffer.read()))
