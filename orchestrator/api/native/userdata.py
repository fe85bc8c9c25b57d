"""What the editor keeps for its users: settings, workflows, and whatever else it calls by a path. Plain files.

As in ComfyUI a request's user is what its header Comfy-User says, and `default` without one.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from orchestrator.api.errors import answer
from orchestrator.api.native.answers import body_of
from orchestrator.api.routes import read_json
from orchestrator.errors import Busy, InvalidRequest, NotFound

SETTINGS = "comfy.settings.json"
_NEW_USER = {"Comfy.TutorialCompleted": True}  # or the editor would open with its templates, of which there are none
_NAMES = frozenset(
    {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EINVAL, errno.ELOOP}
)  # what is wrong with a path, and not with the disk
_USER = re.compile(r"[A-Za-z0-9_-]{1,100}")


class UserRoutes:
    """`folder` has one folder for each user."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def table(self) -> Sequence[web.RouteDef]:
        return (
            web.get("/users", self.users),
            web.get("/settings", self.settings),
            web.post("/settings", self.change_settings),
            web.get("/settings/{id}", self.setting),
            web.post("/settings/{id}", self.change_setting),
            web.get("/userdata", self.files),
            web.get("/userdata/{file}", self.fetch),
            web.post("/userdata/{file}", self.store),
            web.delete("/userdata/{file}", self.delete),
            web.post("/userdata/{file}/move/{to}", self.move),
        )

    async def users(self, request: web.Request) -> web.StreamResponse:
        return answer({"storage": "server", "migrated": True})

    async def settings(self, request: web.Request) -> web.StreamResponse:
        return answer(await self._settings(request))

    async def setting(self, request: web.Request) -> web.StreamResponse:
        return answer((await self._settings(request)).get(request.match_info["id"]))

    async def change_settings(self, request: web.Request) -> web.StreamResponse:
        return await self._change(request, await body_of(request))

    async def change_setting(self, request: web.Request) -> web.StreamResponse:
        return await self._change(request, {request.match_info["id"]: await read_json(request)})

    async def files(self, request: web.Request) -> web.StreamResponse:
        """Those in `dir`, as paths below it; with `split` cut up too, with `full_info` described instead."""
        folder = self._path(request, request.query.get("dir", ""))
        deep, in_full, split = (request.query.get(name) == "true" for name in ("recurse", "full_info", "split"))
        with _disk():
            if not await asyncio.to_thread(folder.is_dir):
                raise NotFound("not_found", "there is no such folder")
            found = await asyncio.to_thread(_listed, folder, deep)
            if in_full:
                return answer([_described(path, folder) for path in found])
        names = [path.relative_to(folder).as_posix() for path in found]
        return answer([[name, *name.split("/")] for name in names] if split else names)

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        path = self._existing(request, "file")
        inline = path.name == "user.css"
        headers = {
            "Content-Type": "text/css" if inline else "application/octet-stream",
            "Content-Disposition": "inline" if inline else "attachment",
            "X-Content-Type-Options": "nosniff",
        }
        with _disk():
            return web.Response(body=await asyncio.to_thread(path.read_bytes), headers=headers)

    async def store(self, request: web.Request) -> web.StreamResponse:
        path = self._path(request, request.match_info["file"])
        content = await request.read()
        with _disk():
            if request.query.get("overwrite") == "false" and path.exists():
                return web.Response(status=409, text="File already exists")
            await asyncio.to_thread(_write, path, content)
            return self._said(request, path)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        with _disk():
            self._existing(request, "file").unlink()
        return web.Response(status=204)

    async def move(self, request: web.Request) -> web.StreamResponse:
        path, to = self._existing(request, "file"), self._path(request, request.match_info["to"])
        with _disk():
            if request.query.get("overwrite") == "false" and to.exists():
                return web.Response(status=409, text="File already exists")
            to.parent.mkdir(parents=True, exist_ok=True)
            path.replace(to)
            return self._said(request, to)

    def _said(self, request: web.Request, path: Path) -> web.Response:
        home = self._home(request)
        in_full = request.query.get("full_info") == "true"
        return answer(_described(path, home) if in_full else path.relative_to(home).as_posix())

    async def _settings(self, request: web.Request) -> dict[str, Any]:
        path = self._path(request, SETTINGS)
        try:
            kept = orjson.loads(await asyncio.to_thread(path.read_bytes))
        except (FileNotFoundError, orjson.JSONDecodeError):
            return dict(_NEW_USER)
        return kept if isinstance(kept, dict) else dict(_NEW_USER)  # clients can write the file itself

    async def _change(self, request: web.Request, changes: dict[str, Any]) -> web.StreamResponse:
        kept = {**await self._settings(request), **changes}
        content = orjson.dumps(kept, option=orjson.OPT_INDENT_2)
        with _disk():
            await asyncio.to_thread(_write, self._path(request, SETTINGS), content)
        return web.Response()

    def _home(self, request: web.Request) -> Path:
        user = request.headers.get("Comfy-User") or "default"
        if not _USER.fullmatch(user):
            raise InvalidRequest("invalid_request", "Comfy-User is letters, digits, - and _, at most 100 of them")
        return self._folder / user

    def _path(self, request: web.Request, name: str) -> Path:
        """Raises InvalidRequest for what is not below the user's folder."""
        home = self._home(request).resolve()
        path = (home / name.replace("\0", "")).resolve()
        if not name or "\0" in name or not path.is_relative_to(home) or path == home:
            raise InvalidRequest("invalid_request", "name a file below the user's folder")
        return path

    def _existing(self, request: web.Request, place: str) -> Path:
        path = self._path(request, request.match_info[place])
        with _disk():
            if not path.is_file():
                raise NotFound("not_found", "there is no such file")
        return path


def _listed(folder: Path, deep: bool) -> list[Path]:
    return sorted(path for path in (folder.rglob("*") if deep else folder.glob("*")) if path.is_file())


def _described(path: Path, home: Path) -> dict[str, Any]:
    about = path.stat()
    times = {"modified": int(about.st_mtime * 1000), "created": int(about.st_ctime * 1000)}
    return {"path": path.relative_to(home).as_posix(), "size": about.st_size, **times}


def _write(path: Path, content: bytes) -> None:
    """The whole of it, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


@contextmanager
def _disk() -> Iterator[None]:
    """What the disk says, as a refusal: of a name that can be none there, of a file that went meanwhile, of itself."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound("not_found", "there is no such file") from None
    except OSError as error:
        if error.errno in _NAMES:
            raise InvalidRequest("invalid_request", f"no file can be there: {error.strerror}") from None
        raise Busy("storage_full", f"users' files cannot be read or written: {error.strerror}", 10.0) from error
