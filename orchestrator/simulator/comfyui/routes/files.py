"""Uploads and /view."""

from __future__ import annotations

import json
import mimetypes
import os
from io import BytesIO
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from orchestrator.simulator.comfyui.config import Profile
from orchestrator.simulator.comfyui.faults import Faults, Kind
from orchestrator.simulator.comfyui.files import ANNOTATION, Files, contains
from orchestrator.simulator.comfyui.routes.context import Sim

LONG_GUARDED_TYPES = frozenset(
    {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}
)
ACTIVE_TYPES = LONG_GUARDED_TYPES | {"application/javascript", "image/svg+xml", "application/xml", "text/xml"}
"""A browser might run these."""


def routes(sim: Sim) -> list[web.RouteDef]:
    handlers = FileRoutes(sim.machine.files, sim.machine.config.profile, sim.machine.faults)
    return [
        web.post("/upload/image", handlers.upload_image),
        web.post("/upload/mask", handlers.upload_mask),
        web.get("/view", handlers.view),
    ]


class FileRoutes:
    def __init__(self, files: Files, profile: Profile, faults: Faults) -> None:
        self._files = files
        self._profile = profile
        self._faults = faults

    async def upload_image(self, request: web.Request) -> web.Response:
        form = await request.post()
        return self._upload(form, None)

    async def upload_mask(self, request: web.Request) -> web.Response:
        """Puts the alpha of the uploaded picture on the one that original_ref names, if that exists."""
        form = await request.post()
        original = json.loads(str(form["original_ref"]))
        return self._upload(form, original)

    def _upload(self, form: Any, original: dict[str, Any] | None) -> web.Response:
        image = form.get("image")
        if not isinstance(image, FileField) or not image.filename:
            return web.Response(status=400)
        kind = str(form.get("type") or "input")
        base = self._files.by_type[kind]
        subfolder = str(form.get("subfolder", ""))
        folder = base / os.path.normpath(subfolder)
        content = image.file.read()
        path = folder / image.filename
        if not contains(base, path):
            return web.Response(status=400)
        folder.mkdir(parents=True, exist_ok=True)
        same = False
        if form.get("overwrite") not in ("true", "1"):
            path, same = _free_name(path, content)
        if self._faults.strike(Kind.RENAME_UPLOADS):
            path, same = path.with_name(f"{path.stem} (1){path.suffix}"), False
        if original is not None:
            self._save_masked(original, content, path)
        elif not same:
            path.write_bytes(content)
        return web.json_response({"name": path.name, "subfolder": subfolder, "type": kind})

    def _save_masked(self, original: dict[str, Any], mask: bytes, path: Path) -> None:
        reference = self._files.by_type[original.get("type", "output")] / original.get("subfolder", "")
        source = reference / original["filename"]
        if not contains(self._files.root, source) or not source.is_file():
            return
        with Image.open(source) as picture, Image.open(BytesIO(mask)) as painted:
            metadata = PngInfo()
            for key, value in getattr(picture, "text", {}).items():
                metadata.add_text(key, value)
            masked = picture.convert("RGBA")
            masked.putalpha(painted.convert("RGBA").getchannel("A"))
            masked.save(path, compress_level=4, pnginfo=metadata)

    async def view(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if "filename" not in query:
            return web.Response(status=404)
        path = self._viewed(query["filename"], query.get("type", "output"), query.get("subfolder"))
        if isinstance(path, int):
            return web.Response(status=path)
        if not path.is_file():
            return web.Response(status=404)
        channel = query.get("channel", "rgba")
        if "preview" in query:
            body, content_type = _preview(path, query["preview"], query.get("channel", ""))
            return _picture(path, body, content_type)
        if channel in ("rgb", "a"):
            return _picture(path, _channel(path, channel), "image/png")
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        disposition = f'filename="{path.name}"'
        headers: dict[str, str] = {}
        if self._profile.guards_views:
            headers["X-Content-Type-Options"] = "nosniff"
            if content_type in ACTIVE_TYPES:
                content_type, disposition = "application/octet-stream", f"attachment; {disposition}"
        elif content_type in LONG_GUARDED_TYPES:
            content_type = "application/octet-stream"
        headers |= {"Content-Disposition": disposition, "Content-Type": content_type}
        return web.FileResponse(path, headers=headers)

    def _viewed(self, name: str, kind: str, subfolder: str | None) -> Path | int:
        """The file, or the status that says what is wrong with the name."""
        annotated = ANNOTATION.match(name)
        if annotated:
            name, kind = annotated[1], annotated[2]
        if not name or name.startswith("/") or ".." in name or kind not in self._files.by_type:
            return 400
        folder = self._files.by_type[kind]
        if subfolder is not None:
            if not contains(folder, folder / subfolder):
                return 403
            folder /= subfolder
        return folder / Path(name).name


def _free_name(path: Path, content: bytes) -> tuple[Path, bool]:
    """A name that is not taken, and whether it is taken by the very same bytes."""
    candidate, number = path, 1
    while candidate.exists():
        if candidate.read_bytes() == content:
            return candidate, True
        candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
        number += 1
    return candidate, False


def _preview(path: Path, wanted: str, channel: str) -> tuple[bytes, str]:
    """`preview` is FORMAT or FORMAT;QUALITY."""
    name, *rest = wanted.split(";")
    form = "webp" if name not in ("webp", "jpeg") or "a" in channel else name
    last = rest[-1] if rest else name
    quality = int(last) if last.isdigit() else 90
    with Image.open(path) as picture:
        image = picture.convert("RGB") if form == "jpeg" or channel == "rgb" else picture
        return _encoded(image, form, quality=quality), f"image/{form}"


def _channel(path: Path, channel: str) -> bytes:
    with Image.open(path) as picture:
        if channel == "rgb":
            return _encoded(picture.convert("RGB"), "PNG")
        alpha = Image.new("RGBA", picture.size)
        alpha.putalpha(picture.getchannel("A") if picture.mode == "RGBA" else Image.new("L", picture.size, 255))
        return _encoded(alpha, "PNG")


def _encoded(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def _picture(path: Path, body: bytes, content_type: str) -> web.Response:
    headers = {"Content-Disposition": f'filename="{path.name}"'}
    return web.Response(body=body, content_type=content_type, headers=headers)
