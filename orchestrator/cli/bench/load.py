"""The load generator: posts one body COUNT times over a few kept connections, as fast as the answers come.

A process of its own that speaks HTTP by hand: with a client library it would use more CPU than the server it measures.
`python -m orchestrator.cli.bench.load URL COUNT CONNECTIONS < body` prints one line of JSON. FRESH in the body becomes
a new UUID in each request.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections import Counter
from urllib.parse import urlsplit

import orjson

FRESH = b"{{fresh}}"


class _Connection(asyncio.Protocol):
    """One request at a time on one connection, until `todo` is empty."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        self._buffer = b""
        self._load.answers[int(head[9:12])] += 1
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed a connection before it answered"))

    def _send(self) -> None:
        request = self._load.next()
        if request is None:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._transport.write(request)


class _Load:
    def __init__(self, url: str, body: bytes, count: int) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.answers: Counter[int] = Counter()
        self._path = parts.path
        self._body = body
        self._left = count

    def next(self) -> bytes | None:
        if not self._left:
            return None
        self._left -= 1
        body = self._body.replace(FRESH, str(uuid.uuid4()).encode())
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"an answer without Content-Length: {head[:200]!r}")


async def _run(url: str, count: int, connections: int, body: bytes) -> None:
    load = _Load(url, body, count)
    loop = asyncio.get_running_loop()
    started_at, start = time.time(), time.perf_counter()
    made = [await loop.create_connection(lambda: _Connection(load), load.host, load.port) for _ in range(connections)]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    seconds = time.perf_counter() - start
    answers = {str(status): number for status, number in load.answers.items()}
    sys.stdout.write(orjson.dumps({"started_at": started_at, "seconds": seconds, "answers": answers}).decode() + "\n")


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.buffer.read()))
