"""Those who watch: many streams of events at once, which note how old each event is when it arrives.

A process of its own that speaks HTTP by hand, so that its own work is not what is measured.
`python -m orchestrator.cli.bench.watchers URL EACH SECONDS JOB...` opens EACH streams for every job, prints
`connected` when all of them are, listens for SECONDS, and prints one line of JSON: from when to when it counted (Unix
milliseconds, as the ids of events are), and the milliseconds of each delivery of an event from that time.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from functools import partial
from urllib.parse import urlsplit

import orjson

LATE_S = 2.0  # after that time, for what is under way
_EVENT = re.compile(rb"^id: (\d+)-\d+$", re.MULTILINE)

Arrival = tuple[int, float]  # when an event happened, by its id, and when it came (Unix milliseconds)


class _Watcher(asyncio.Protocol):
    """Notes all that comes on one stream."""

    def __init__(self, host: str, path: str, arrivals: list[Arrival]) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode()
        self._arrivals = arrivals
        self._rest = b""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now_ms = time.time() * 1000
        if not self.answered.done():
            if not data.startswith(b"HTTP/1.1 200 "):
                self.answered.set_exception(ConnectionError(f"refused: {data[:200]!r}"))
                return
            self.answered.set_result(None)
        lines, newline, self._rest = (self._rest + data).rpartition(b"\n")
        self._arrivals += [(int(event[1]), now_ms) for event in _EVENT.finditer(lines + newline)]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_exception(exc or ConnectionError("closed before it was answered"))


async def _run(url: str, each: int, seconds: float, job_ids: list[str]) -> None:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    loop = asyncio.get_running_loop()
    arrivals: list[Arrival] = []
    for job_id in job_ids:
        path = f"/v1/jobs/{job_id}/events"
        new = partial(_Watcher, parts.netloc, path, arrivals)
        made = [await loop.create_connection(new, host, port) for _ in range(each)]
        await asyncio.gather(*(watcher.answered for _, watcher in made))
    _say(b"connected")
    await asyncio.sleep(LATE_S)  # what was replayed to them is no news
    arrivals.clear()
    begins = int(time.time() * 1000)
    await asyncio.sleep(seconds)
    ends = int(time.time() * 1000)
    await asyncio.sleep(LATE_S)
    lags = [came - happened for happened, came in arrivals if begins <= happened < ends]
    _say(orjson.dumps({"begins": begins, "ends": ends, "lags_ms": lags}))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
