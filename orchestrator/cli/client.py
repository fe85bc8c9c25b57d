"""A client of the fleet's HTTP door: what every command that talks to a running fleet goes through.

It turns the fleet's error documents back into the errors they came from, follows a job's events across reconnects,
and streams files both ways. A fleet that does not answer is one clear sentence, not a traceback.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from orchestrator.domain.job import TERMINAL
from orchestrator.errors import Busy, Conflict, FleetError, InvalidRequest, NotFound

RECONNECT_S = 0.5
GIVE_UP_AFTER = 60  # reconnects in a row without an event: half a minute, longer than a controller takes to restart


class Unreachable(FleetError):
    """Nothing answers at the fleet's URL."""


class FleetClient:
    """`async with FleetClient(url) as fleet`. Paths are those of the API, e.g. "/v1/jobs". Raises
    InvalidRequest("bad_url")."""

    def __init__(self, url: str) -> None:
        if not _is_http(url):
            instead = f"http://{url}" if "://" not in url and _is_http(f"http://{url}") else "http://127.0.0.1:8200"
            raise InvalidRequest("bad_url", f"{url} is not a URL of a fleet: type --url {instead}")
        self.url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> FleetClient:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # one connection for each job that is followed
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: str | int | None) -> Any:
        """The JSON answer; query values that are None are left out."""
        return await self._json("GET", path, params={key: value for key, value in query.items() if value is not None})

    async def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Sends JSON, answers JSON."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        try:
            data = orjson.dumps({} if body is None else body)
        except TypeError as error:
            raise InvalidRequest("bad_value", f"the request holds what cannot be sent: {error}") from error
        return await self._json("POST", path, data=data, headers=headers)

    async def upload(self, file: Path) -> Any:
        """Stores the file as an asset and answers it."""
        try:
            handle = file.open("rb")
        except OSError as error:
            raise InvalidRequest("file_unreadable", f"cannot read {file}: {error.strerror}") from error
        with handle:
            form = aiohttp.FormData(quote_fields=False)  # names go as they are, and not percent-encoded
            form.add_field("file", handle, filename="".join(filter(str.isprintable, file.name)))
            return await self._json("POST", "/v1/assets", data=form)

    async def download(self, url: str, to: Path) -> int:
        """Saves what the URL (absolute, or a path of the fleet) serves; answers its bytes. Whole or not at all."""
        part = to.with_name(to.name + ".part")
        size = 0
        async with self._request("GET", url) as response:
            await _raise_for(response)
            with part.open("wb") as file:
                async for chunk in response.content.iter_chunked(1 << 18):
                    size += file.write(chunk)
        part.replace(to)
        return size

    async def events(self, job_id: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """(type, data) of each event until the job has ended, across reconnects: none twice, none left out."""
        last: str | None = None
        problem: Exception | None = None
        failures = 0
        while failures < GIVE_UP_AFTER:
            failures += 1
            try:
                async for event_id, kind, data in self._stream(job_id, last):
                    last, failures = event_id or last, 0
                    yield kind, data
                    if kind == "status" and data["status"] in TERMINAL:
                        return
            except (Unreachable, Busy, aiohttp.ClientError, TimeoutError) as error:
                problem = error
            await asyncio.sleep(RECONNECT_S)
        raise Unreachable(
            "unreachable", f"lost sight of job {job_id}: {problem or 'its events break off'}"
        ) from problem

    async def _stream(self, job_id: str, last: str | None) -> AsyncIterator[tuple[str | None, str, dict[str, Any]]]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        async with self._request("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
            await _raise_for(response)
            fields: dict[str, str] = {}
            async for raw in response.content:
                line = raw.decode().rstrip("\r\n")
                if not line and "data" in fields:
                    yield fields.get("id"), fields.get("event", "message"), orjson.loads(fields["data"])
                    fields = {}
                elif line and not line.startswith(":"):
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")

    async def _json(self, method: str, path: str, **options: Any) -> Any:
        async with self._request(method, path, **options) as response:
            await _raise_for(response)
            return orjson.loads(await response.read())

    def _request(self, method: str, path: str, **options: Any) -> _Answer:
        if self._session is None:
            raise RuntimeError("enter the client before using it")
        url = path if path.startswith(("http://", "https://")) else self.url + path
        return _Answer(self.url, self._session.request(method, url, **options))


class _Answer:
    """A request as a context manager that says in one sentence that nobody answers."""

    def __init__(self, url: str, request: Any) -> None:
        self._url = url
        self._request = request

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            return await self._request.__aenter__()
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            raise Unreachable(
                "unreachable", f"no fleet answers at {self._url}: start one with comfyfleet up, or name it with --url"
            ) from error

    async def __aexit__(self, *failure: Any) -> None:
        await self._request.__aexit__(*failure)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        return False


async def _raise_for(response: aiohttp.ClientResponse) -> None:
    """Turns an error answer back into the error that the fleet raised."""
    if response.status < 400:
        return
    body = await response.read()
    try:
        error = orjson.loads(body)["error"]
        code, message, details = error["code"], error["message"], error.get("details") or {}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        text = body.decode(errors="replace").strip()[:200]
        raise FleetError("not_a_fleet", f"{response.url} answered {response.status}: {text}") from None
    if response.status in (429, 503):
        raise Busy(code, message, float(response.headers.get("Retry-After", 1)), **details)
    kinds: dict[int, type[FleetError]] = {404: NotFound, 409: Conflict}
    fallback = InvalidRequest if response.status < 500 else FleetError
    raise kinds.get(response.status, fallback)(code, message, **details)


def ask(url: str, method: str, path: str, body: Any = None, **query: str | int | None) -> Any:
    """One question to the fleet at `url`, for commands that ask no more."""

    async def main() -> Any:
        async with FleetClient(url) as fleet:
            return await (fleet.get(path, **query) if method == "GET" else fleet.post(path, body))

    return asyncio.run(main())
