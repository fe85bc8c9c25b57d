"""/v1/assets: input files, taken in by their content and handed out harmlessly."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO, TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http import HttpProcessingError
from blake3 import blake3

from orchestrator.api.errors import answer
from orchestrator.api.files import FILE_ANSWERS, RANGE_HEADER, StoredFile, send
from orchestrator.api.fleet.views.assets import AssetView, asset_view
from orchestrator.api.routes import Answer, Route, body_too_slow, id_of
from orchestrator.api.services import Services
from orchestrator.delivery.keys import asset_key
from orchestrator.delivery.media import HEAD_BYTES, Media, inspect, verify_image
from orchestrator.domain.asset import Asset, MediaType, asset_id
from orchestrator.errors import Busy, InvalidRequest

T = TypeVar("T")

FIELD = "file"
CHUNK_BYTES = 1 << 18
STEP_S = 60.0  # for the next CHUNK_BYTES to come
VERIFIED_AT_ONCE = 2  # a decoded picture may take hundreds of megabytes
_ENVELOPE_BYTES = 64 << 10  # what multipart may add to a file
_NAME_LENGTH = 255


class AssetRoutes:
    def __init__(self, services: Services, max_upload_bytes: int) -> None:
        self._store = services.store
        self._storage = services.storage
        self._max_bytes = max_upload_bytes
        self._verifying = asyncio.Semaphore(VERIFIED_AT_ONCE)

    def table(self) -> Sequence[Route]:
        unknown = ("asset_not_found",)
        return (
            Route(
                method="POST", path="/v1/assets", handler=self.upload, upload=FIELD, summary="Upload an input file",
                answers={201: Answer("The asset; the same content is the same asset.", AssetView)},
                refusals=(
                    "body_too_large", "invalid_image", "invalid_multipart", "unsupported_media_type", "asset_deleting",
                    "storage_full", "storage_unavailable",
                ),
            ),
            Route(
                method="GET", path="/v1/assets/{id}", handler=self.show, summary="Show an asset", refusals=unknown,
                answers={200: Answer("The asset.", AssetView)},
            ),
            Route(
                method="GET", path="/v1/assets/{id}/content", handler=self.content, summary="Fetch an asset",
                headers=RANGE_HEADER, refusals=(*unknown, "range_not_satisfiable"),
                answers=FILE_ANSWERS,
            ),
        )  # fmt: skip

    async def upload(self, request: web.Request) -> web.StreamResponse:
        if (request.content_length or 0) > self._max_bytes + _ENVELOPE_BYTES:
            raise self._too_large()
        envelope, part = await _opened(request)
        name = _tame(part.filename)
        with await asyncio.to_thread(tempfile.TemporaryFile) as spool:
            size, digest = await self._take(part, spool)
            await _received(envelope.next())  # fails unless the file ended with its boundary
            if part.headers.get("Content-Length", str(size)) != str(size):
                raise InvalidRequest("invalid_multipart", "the file is shorter than the Content-Length of its part")
            media = await self._verified(spool, name, part.headers.get("Content-Type", ""))
            key = asset_key(digest)
            stored = await self._storage.put(key, _chunks(spool), media.content_type)
        asset = Asset(
            asset_id(digest), stored.hash, size, media.content_type, name, time.time(), media.width, media.height
        )
        return answer(asset_view(await self._store.put_asset(asset)), 201)

    async def show(self, request: web.Request) -> web.StreamResponse:
        return answer(asset_view(await self._store.asset(id_of(request, "asset"))))

    async def content(self, request: web.Request) -> web.StreamResponse:
        asset = await self._store.asset(id_of(request, "asset"))
        file = StoredFile(asset_key(asset.hash), asset.size_bytes, asset.content_type, asset.name, asset.hash)
        return await send(request, self._storage, file)

    async def _take(self, part: BodyPartReader, spool: BinaryIO) -> tuple[int, str]:
        """The upload into the spool; answers its bytes and its BLAKE3."""
        hasher = blake3()
        size = 0
        while chunk := await _received(part.read_chunk(CHUNK_BYTES)):
            size += len(chunk)
            if size > self._max_bytes:
                raise self._too_large()
            hasher.update(chunk)
            await _keep(spool, chunk)
        return size, hasher.hexdigest()

    async def _verified(self, spool: BinaryIO, name: str, declared: str) -> Media:
        """What the file is. What is, or says it is, a picture must be one that ComfyUI can read."""
        spool.seek(0)
        media = inspect(await asyncio.to_thread(spool.read, HEAD_BYTES), name)
        if media.type is not MediaType.IMAGE and not declared.startswith("image/"):
            return media
        async with self._verifying:
            spool.seek(0)
            return await asyncio.to_thread(verify_image, spool, name)

    def _too_large(self) -> InvalidRequest:
        return InvalidRequest(
            "body_too_large", f"an upload may have {self._max_bytes} bytes (limits.max_upload_bytes)",
            max_bytes=self._max_bytes,
        )  # fmt: skip


async def _opened(request: web.Request) -> tuple[MultipartReader, BodyPartReader]:
    """The envelope, and the file in it."""
    if request.content_type != "multipart/form-data":
        raise InvalidRequest(
            "unsupported_media_type", f"send multipart/form-data with the file as {FIELD!r}: curl -F {FIELD}=@PATH"
        )
    envelope = await _received(request.multipart())
    part = await _received(envelope.next())
    if not isinstance(part, BodyPartReader) or part.name != FIELD:
        raise InvalidRequest(
            "invalid_multipart", f"the first part must be the file, named {FIELD!r}: curl -F {FIELD}=@PATH"
        )
    return envelope, part


async def _received(step: Awaitable[T]) -> T:
    """What comes next of the envelope; what aiohttp makes of a broken one is told as the caller's mistake."""
    try:
        async with asyncio.timeout(STEP_S):
            return await step
    except TimeoutError:
        raise body_too_slow(STEP_S) from None
    except (ValueError, AssertionError, HttpProcessingError) as error:
        raise InvalidRequest("invalid_multipart", f"the multipart body is broken: {error}") from None


async def _keep(spool: BinaryIO, chunk: bytes) -> None:
    try:
        await asyncio.to_thread(spool.write, chunk)
    except OSError as error:
        where = tempfile.gettempdir()
        raise Busy("storage_full", f"uploads pass through {where}, and cannot: {error.strerror}", 10.0) from error


async def _chunks(spool: BinaryIO) -> AsyncIterator[bytes]:
    spool.seek(0)
    while chunk := await asyncio.to_thread(spool.read, CHUNK_BYTES):
        yield chunk


def _tame(filename: str | None) -> str:
    """The uploader's name for it, without folders and what does not print; never used as a path."""
    name = PurePosixPath((filename or "").replace("\\", "/")).name
    return "".join(letter for letter in name if letter.isprintable())[-_NAME_LENGTH:] or "file"
