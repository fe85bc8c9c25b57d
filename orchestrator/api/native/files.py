"""/upload and /view: files by the names that ComfyUI's clients know, wherever they lie."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from io import BytesIO
from typing import Any

from aiohttp import web
from blake3 import blake3
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from orchestrator.api.errors import answer
from orchestrator.api.files import StoredFile, send
from orchestrator.api.native.callers import Callers
from orchestrator.api.uploads import Spool, Uploads, tame
from orchestrator.controller import strict_json
from orchestrator.controller.events import EventHub
from orchestrator.controller.inputs import FOLDERS, PREFIX, Inputs, located
from orchestrator.delivery.storage import Storage
from orchestrator.domain.asset import Asset
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.store.port import Store

WAIT_S = 60.0  # for the files of a job that executes: its messages name them before they are here
CONVERTED_AT_ONCE = 2  # decoded pictures are large
PICTURE_MAX = 256 << 20
_QUALITY = re.compile(r"[0-9]{1,9}")
_UNFIT = (OSError, ValueError, Image.DecompressionBombError)  # what Pillow says of a picture that it cannot do


class FileRoutes:
    def __init__(
        self, store: Store, storage: Storage, inputs: Inputs, uploads: Uploads, events: EventHub, callers: Callers
    ) -> None:
        self._store = store
        self._storage = storage
        self._inputs = inputs
        self._uploads = uploads
        self._events = events
        self._callers = callers
        self._converting = asyncio.Semaphore(CONVERTED_AT_ONCE)

    def table(self) -> Sequence[web.RouteDef]:
        return (
            web.post("/upload/image", self.upload),
            web.post("/upload/mask", self.upload_mask),
            web.get("/view", self.view),
        )

    async def upload(self, request: web.Request) -> web.StreamResponse:
        return await self._take(request, masked=False)

    async def upload_mask(self, request: web.Request) -> web.StreamResponse:
        """The picture that `original_ref` names, with the alpha of the one that is sent."""
        return await self._take(request, masked=True)

    async def view(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if "filename" not in query:
            return web.Response(status=404)
        path = located(query["filename"], query.get("type", "output"), query.get("subfolder", ""))
        if _escapes(query["filename"]) or path.split("/")[0] not in FOLDERS:
            return web.Response(status=400)
        if ".." in path.split("/"):
            return web.Response(status=403)
        file = await self._file(path, self._callers.of(request).peer)
        if file is None:
            return web.Response(status=404)
        channel = query.get("channel", "")
        if "preview" not in query and channel not in ("rgb", "a"):
            return await send(request, self._storage, file)
        data = await self._read(file)
        async with self._converting:
            try:
                content, content_type = await asyncio.to_thread(_converted, data, query.get("preview"), channel)
            except _UNFIT as error:
                raise InvalidRequest("invalid_image", f"{file.name} cannot be shown so: {error}") from None
        name = file.name.replace("\\", "_").replace('"', "_")
        headers = {"Content-Disposition": f'filename="{name}"', "X-Content-Type-Options": "nosniff"}
        return web.Response(body=content, content_type=content_type, headers=headers)

    async def _take(self, request: web.Request, *, masked: bool) -> web.StreamResponse:
        envelope = await self._uploads.open(request, "the picture as 'image': curl -F image=@PATH")
        fields: dict[str, str] = {}
        async with AsyncExitStack() as stack:
            name, spool = "", None
            while (part := await envelope.part()) is not None:
                if part.name == "image" and spool is None:
                    name = part.filename or ""
                    spool = await stack.enter_async_context(self._uploads.spooled(part))
                else:
                    fields[part.name or ""] = await envelope.text(part)
            folder, subfolder = fields.get("type") or "input", fields.get("subfolder", "")
            path = located(tame(name), folder, subfolder)
            if spool is None or not name or folder not in FOLDERS or ".." in path.split("/"):
                return web.Response(status=400)
            peer = self._callers.of(request).peer
            asset = await (self._masked(spool, name, fields, peer) if masked else self._uploads.keep(spool, name))
        replace = fields.get("overwrite") in ("true", "1")
        path = await self._inputs.name(path, asset, peer, replace=replace)
        return answer({"name": path.rpartition("/")[2], "subfolder": subfolder, "type": folder})

    async def _masked(self, spool: Spool, name: str, fields: Mapping[str, str], peer: str) -> Asset:
        try:
            original = strict_json.loads(fields.get("original_ref", "").encode())
            path = located(original["filename"], original.get("type", "output"), original.get("subfolder", ""))
        except (InvalidRequest, KeyError, TypeError, AttributeError):
            message = 'original_ref must name the picture: {"filename": ..., "type": ..., "subfolder": ...}'
            raise InvalidRequest("invalid_request", message) from None
        file = await self._file(path, peer)
        if file is None:
            raise InvalidRequest("invalid_request", f"there is no {path}, which original_ref names")
        picture = await self._read(file)
        spool.file.seek(0)
        mask = await asyncio.to_thread(spool.file.read)
        async with self._converting:
            content = await asyncio.to_thread(_with_alpha, picture, mask)
        made = Spool(BytesIO(content), len(content), blake3(content).hexdigest(), "image/png")
        return await self._uploads.keep(made, name)

    async def _file(self, path: str, peer: str) -> StoredFile | None:
        if (asset := await self._inputs.find(path, peer)) is not None:
            return StoredFile.of_asset(asset)
        made = await self._inputs.output(path)
        if made is None and await self._is_awaited(path):
            made = await self._inputs.output(path)
        if made is None:
            return None
        return StoredFile.of_output(*made)

    async def _is_awaited(self, path: str) -> bool:
        """Whether it may be there now, as the job that it belongs to has ended since."""
        parts = path.split("/")
        if len(parts) < 3 or parts[1] != PREFIX:
            return False
        try:
            if (await self._store.job(parts[2])).terminal:
                return False
            return (await self._events.wait(parts[2], WAIT_S)).terminal
        except NotFound:
            return False

    async def _read(self, file: StoredFile) -> bytes:
        """A picture, to be looked into. Raises InvalidRequest for anything else."""
        if file.size_bytes > PICTURE_MAX or not file.content_type.startswith("image/"):
            raise InvalidRequest("invalid_request", f"{file.name} is no picture that can be converted")
        pieces = bytearray()
        async with aclosing(self._storage.read(file.key, end=file.size_bytes)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                pieces += chunk
        return bytes(pieces)


def _escapes(name: str) -> bool:
    return not name or name.startswith("/") or ".." in name


def _converted(data: bytes, preview: str | None, channel: str) -> tuple[bytes, str]:
    """As ComfyUI does it: `preview` is FORMAT or FORMAT;QUALITY."""
    buffer = BytesIO()
    with Image.open(BytesIO(data)) as picture:
        if preview is not None:
            kind, *rest = preview.split(";")
            kind = "webp" if kind not in ("webp", "jpeg") or "a" in channel else kind
            quality = min(int(rest[-1]), 100) if rest and _QUALITY.fullmatch(rest[-1]) else 90
            shown = picture.convert("RGB") if kind == "jpeg" or channel == "rgb" else picture
            shown.save(buffer, format=kind, quality=quality)
            return buffer.getvalue(), f"image/{kind}"
        if channel == "rgb":
            picture.convert("RGB").save(buffer, format="PNG")
            return buffer.getvalue(), "image/png"
        alpha = picture.getchannel("A") if picture.mode == "RGBA" else Image.new("L", picture.size, 255)
        only = Image.new("RGBA", picture.size)
        only.putalpha(alpha)
        only.save(buffer, format="PNG")
        return buffer.getvalue(), "image/png"


def _with_alpha(picture: bytes, mask: bytes) -> bytes:
    """The picture with the mask's alpha, and with the texts that were in it, among them its graph."""
    buffer = BytesIO()
    try:
        with Image.open(BytesIO(picture)) as original, Image.open(BytesIO(mask)) as painted:
            texts = PngInfo()
            said: Mapping[str, Any] = getattr(original, "text", {})
            for key, value in said.items():
                texts.add_text(key, value)
            masked = original.convert("RGBA")
            masked.putalpha(painted.convert("RGBA").getchannel("A"))
    except _UNFIT as error:
        raise InvalidRequest("invalid_image", f"the mask does not fit its picture: {error}") from None
    masked.save(buffer, "PNG", compress_level=4, pnginfo=texts)
    return buffer.getvalue()
