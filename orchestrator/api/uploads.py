"""Uploads: files that callers send in multipart bodies, taken in by their content, whichever door they come through.

A file is spooled to disk first, so that whatever is found wrong with it, or with what comes after it, leaves nothing
behind; `keep` makes it an asset.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http import HttpProcessingError
from blake3 import blake3

from orchestrator.api.routes import body_too_slow
from orchestrator.delivery.keys import asset_key
from orchestrator.delivery.media import HEAD_BYTES, Media, inspect, verify_image
from orchestrator.delivery.storage import Storage
from orchestrator.domain.asset import Asset, MediaType, asset_id
from orchestrator.errors import Busy, InvalidRequest
from orchestrator.store.port import CatalogStore

T = TypeVar("T")

CHUNK_BYTES = 1 << 18
STEP_S = 60.0  # for the next CHUNK_BYTES to come
VERIFIED_AT_ONCE = 2  # a decoded picture may take hundreds of megabytes
_ENVELOPE_BYTES = 64 << 10  # what multipart may add to a file
_FIELD_BYTES = 16 << 10
_NAME_LENGTH = 255


class Envelope:
    """A multipart body, part by part. What is wrong with it is InvalidRequest("invalid_multipart")."""

    def __init__(self, reader: MultipartReader) -> None:
        self._reader = reader

    async def part(self) -> BodyPartReader | None:
        """The next named part. Reading on also proves that the one before ended as it should."""
        part = await received(self._reader.next())
        if isinstance(part, MultipartReader) or (part is not None and part.name is None):
            raise InvalidRequest("invalid_multipart", "every part must be a field of the form, with a name")
        return part

    async def text(self, part: BodyPartReader) -> str:
        """A field that is no file."""
        data = b""
        while chunk := await received(part.read_chunk(_FIELD_BYTES)):
            data += chunk
            if len(data) > _FIELD_BYTES:
                raise InvalidRequest("invalid_multipart", f"{part.name} is longer than {_FIELD_BYTES} bytes")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("invalid_multipart", f"{part.name} is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class Spool:
    """A file that has come whole. `declared`: the type that its sender gave it."""

    file: BinaryIO
    size_bytes: int
    digest: str  # BLAKE3, in hexadecimal
    declared: str


class Uploads:
    """One for all doors: pictures are verified a few at a time."""

    def __init__(self, store: CatalogStore, storage: Storage, max_bytes: int) -> None:
        self._store = store
        self._storage = storage
        self._max_bytes = max_bytes
        self._verifying = asyncio.Semaphore(VERIFIED_AT_ONCE)

    async def open(self, request: web.Request, hint: str) -> Envelope:
        """`hint` says how to send it right."""
        if (request.content_length or 0) > self._max_bytes + _ENVELOPE_BYTES:
            raise self._too_large()
        if request.content_type != "multipart/form-data":
            raise InvalidRequest("unsupported_media_type", f"send multipart/form-data with {hint}")
        return Envelope(await received(request.multipart()))

    @asynccontextmanager
    async def spooled(self, part: BodyPartReader) -> AsyncIterator[Spool]:
        """The file in a part, for as long as the body runs."""
        with await asyncio.to_thread(tempfile.TemporaryFile) as file:
            size, digest = await self._take(part, file)
            if part.headers.get("Content-Length", str(size)) != str(size):
                raise InvalidRequest("invalid_multipart", "the file is shorter than the Content-Length of its part")
            yield Spool(file, size, digest, part.headers.get("Content-Type", ""))

    async def keep(self, spool: Spool, name: str) -> Asset:
        """Stores it. The same content is the same asset, under the name that it was first given."""
        media = await self._verified(spool, name)
        stored = await self._storage.put(asset_key(spool.digest), _chunks(spool.file), media.content_type)
        asset = Asset(
            asset_id(spool.digest), stored.hash, spool.size_bytes, media.content_type, name, time.time(),
            media.width, media.height,
        )  # fmt: skip
        return await self._store.put_asset(asset)

    async def _take(self, part: BodyPartReader, file: BinaryIO) -> tuple[int, str]:
        """The upload into the file; answers its bytes and its BLAKE3."""
        hasher = blake3()
        size = 0
        while chunk := await received(part.read_chunk(CHUNK_BYTES)):
            size += len(chunk)
            if size > self._max_bytes:
                raise self._too_large()
            hasher.update(chunk)
            await _write(file, chunk)
        return size, hasher.hexdigest()

    async def _verified(self, spool: Spool, name: str) -> Media:
        """What the file is. What is, or says it is, a picture must be one that ComfyUI can read."""
        spool.file.seek(0)
        media = inspect(await asyncio.to_thread(spool.file.read, HEAD_BYTES), name)
        if media.type is not MediaType.IMAGE and not spool.declared.startswith("image/"):
            return media
        async with self._verifying:
            spool.file.seek(0)
            return await asyncio.to_thread(verify_image, spool.file, name)

    def _too_large(self) -> InvalidRequest:
        return InvalidRequest(
            "body_too_large", f"an upload may have {self._max_bytes} bytes (limits.max_upload_bytes)",
            max_bytes=self._max_bytes,
        )  # fmt: skip


def tame(filename: str | None) -> str:
    """The uploader's name for a file, without folders and what does not print; never used as a path."""
    name = PurePosixPath((filename or "").replace("\\", "/")).name
    return "".join(letter for letter in name if letter.isprintable())[-_NAME_LENGTH:] or "file"


async def received(step: Awaitable[T]) -> T:
    """What comes next of the body; what aiohttp makes of a broken one is told as the caller's mistake."""
    try:
        async with asyncio.timeout(STEP_S):
            return await step
    except TimeoutError:
        raise body_too_slow(STEP_S) from None
    except (ValueError, AssertionError, HttpProcessingError) as error:
        raise InvalidRequest("invalid_multipart", f"the multipart body is broken: {error}") from None


async def _write(file: BinaryIO, chunk: bytes) -> None:
    try:
        await asyncio.to_thread(file.write, chunk)
    except OSError as error:
        where = tempfile.gettempdir()
        raise Busy("storage_full", f"uploads pass through {where}, and cannot: {error.strerror}", 10.0) from error


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk
