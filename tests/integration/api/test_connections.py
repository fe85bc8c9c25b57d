"""What is answered to what is no HTTP, or comes too slowly: over plain sockets, as a careless or hostile caller has."""

from __future__ import annotations

import asyncio
import gzip
import logging
import resource
import socket
from collections.abc import AsyncIterator

import orjson
import pytest

from orchestrator.api import routes, server, uploads
from orchestrator.api.app import create_app
from orchestrator.api.server import serving
from orchestrator.api.services import Services
from orchestrator.settings import LimitSettings, RetentionSettings

HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def port(services: Services, limits: LimitSettings) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(create_app(services, limits, RetentionSettings()), listener):
            yield listener.getsockname()[1]


async def say(port: int, *pieces: bytes, then_leave: bool = False) -> tuple[int, str]:
    """Status and code of the answer; (0, "") when the connection is closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then_leave:
            writer.write_eof()
        async with asyncio.timeout(5):
            line = await reader.readline()
            if not line:
                return 0, ""
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(each.split()[1]) for each in head.splitlines() if each.lower().startswith(b"content-len"))
            assert b"X-Request-Id: " in head
            body = orjson.loads(await reader.readexactly(length))
            assert len(body["error"]["message"]) > 20
            return int(line.split()[1]), body["error"]["code"]
    except ConnectionResetError:
        return 0, ""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/jobs/\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n{}",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_json_and_not_logged(
    port: int, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert await say(port, request_) == (400, "malformed_request")
    assert not caplog.records


async def test_callers_who_leave_in_the_middle_are_not_logged(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert await say(port, HEAD + b"Content-Length: 100\r\n\r\n{", then_leave=True) == (0, "")
        assert await say(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", then_leave=True) == (0, "")
    assert not caplog.records


async def test_compressed_bodies_are_not_unpacked(port: int) -> None:
    for encoding in (b"gzip", b"deflate", b"br", b"unheard-of"):
        for body in (gzip.compress(bytes(64 << 20)), b"nothing of the kind"):
            head = HEAD + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(body))
            assert await say(port, head, body) == (415, "unsupported_encoding")


async def test_only_what_is_known_can_be_expected(port: int) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: %b\r\n\r\n"
    assert await say(port, get % b"frob") == (417, "unknown_expectation")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get % b"100-Continue")
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(port: int) -> None:
    assert await say(port, HEAD + b"Content-Length: 9999999999\r\n\r\n{") == (413, "body_too_large")


async def test_a_body_that_does_not_come_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BODY_S", 0.1)
    monkeypatch.setattr(uploads, "STEP_S", 0.1)
    assert await say(port, HEAD + b"Content-Length: 100\r\n\r\n{") == (408, "body_too_slow")
    upload = b"POST /v1/assets HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
    part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    assert await say(port, upload + b"Content-Length: 1000\r\n\r\n") == (408, "body_too_slow")
    assert await say(port, upload + b"Content-Length: 1000\r\n\r\n", part + b"half a f") == (408, "body_too_slow")


async def test_headers_that_do_not_come_are_not_waited_for(
    services: Services, limits: LimitSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_OPTIONS", {**server._OPTIONS, "keepalive_timeout": 0.1})  # pyright: ignore[reportPrivateUsage]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(create_app(services, limits, RetentionSettings()), listener):
            port = listener.getsockname()[1]
            assert await say(port) == (0, "")
            assert await say(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ") == (0, "")


async def test_callers_beyond_the_open_files_are_turned_away(
    services: Services, limits: LimitSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (20, 20))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(create_app(services, limits, RetentionSettings()), listener):
            port = listener.getsockname()[1]
            here = [await asyncio.open_connection("127.0.0.1", port) for _ in range(15)]
            assert await say(port, b"nonsense\r\n\r\n") == (0, "")
            here[0][1].close()
            async with asyncio.timeout(5):
                while await say(port, b"nonsense\r\n\r\n") != (400, "malformed_request"):
                    await asyncio.sleep(0.01)
            for _, writer in here:
                writer.close()
    assert not caplog.records
