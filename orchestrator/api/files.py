"""Files over HTTP: from storage to whoever asks, by range, with headers that make them harmless in a browser."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from aiohttp import web

from orchestrator.api.errors import request_id
from orchestrator.api.routes import Answer
from orchestrator.delivery.keys import asset_key
from orchestrator.delivery.serving import serving_headers
from orchestrator.delivery.storage import Storage
from orchestrator.domain.asset import Asset, Output
from orchestrator.domain.job import Job
from orchestrator.errors import FleetError, InvalidRequest

log = logging.getLogger(__name__)

URL_LIFETIME_S = 3600.0
RANGE_HEADER = {"Range": "A part of the file."}
FILE_ANSWERS = {
    200: Answer("The file.", media="*/*"),
    206: Answer("The asked part of the file.", media="*/*"),
    302: Answer("The file is at Location, for an hour.", media=""),
}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in storage, as the store recorded it. `settled`: what has its URL never changes."""

    key: str
    size_bytes: int
    content_type: str
    name: str
    hash: str
    settled: bool = True

    @classmethod
    def of_asset(cls, asset: Asset) -> StoredFile:
        return cls(asset_key(asset.hash), asset.size_bytes, asset.content_type, asset.name, asset.hash)

    @classmethod
    def of_output(cls, job: Job, output: Output) -> StoredFile:
        """Of a job that runs, a retry may make it anew."""
        return cls(output.path, output.size_bytes, output.content_type, output.name, output.hash, settled=job.terminal)


async def send(request: web.Request, storage: Storage, file: StoredFile) -> web.StreamResponse:
    """Redirects to where the storage serves it, else streams it from here."""
    if url := await storage.url(file.key, URL_LIFETIME_S, file.name, file.content_type):
        return web.Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})
    etag = f'"{file.hash}"'
    headers = {
        **serving_headers(file.content_type, file.name),
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=31536000, immutable" if file.settled else "private, no-cache",
        "Accept-Ranges": "bytes",
        "ETag": etag,
    }
    if etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    part = asked_range(request.headers.get("Range"), file.size_bytes)
    start, end = part or (0, file.size_bytes)
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    if part:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size_bytes}"
    response.content_length = end - start
    return await _stream(request, response, storage, file, start, end)


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of a Range header; None: the whole, as for what is no single range of bytes.

    Raises InvalidRequest("range_not_satisfiable").
    """
    found = _RANGE.fullmatch(header or "")
    if not found or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if first and last and int(last) < int(first):
        return None  # RFC 9110: an invalid range is ignored
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= size or (not first and int(last) == 0):
        raise InvalidRequest("range_not_satisfiable", f"the file has {size} bytes; ask for a range within", size=size)
    return start, end


async def _stream(
    request: web.Request, response: web.StreamResponse, storage: Storage, file: StoredFile, start: int, end: int
) -> web.StreamResponse:
    pieces = storage.read(file.key, start, end)
    try:
        first = await anext(pieces, b"")  # before any header is sent: a missing file is an error, not half an answer
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(first)
            async for piece in pieces:
                await response.write(piece)
    except FleetError as error:
        if not response.prepared:
            raise
        log.error("request %s: %s broke off: %s", request_id(request), file.key, error.message)
        raise ConnectionResetError("the rest of the file cannot be read") from error
    await response.write_eof()
    return response
