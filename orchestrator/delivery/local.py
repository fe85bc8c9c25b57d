"""LocalStorage: a folder, on this machine or shared by all of them.

A file is written under `.incoming`, synced, and renamed to its key: a reader sees the whole or nothing, and a crash
leaves only what lies in `.incoming`, which the next start sweeps. Several processes can share the folder.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from orchestrator.delivery.incoming import MAX_RACES, Incoming, Part, remove
from orchestrator.delivery.keys import check_key
from orchestrator.delivery.storage import Piece, Stored, blocks, pieces
from orchestrator.delivery.threads import Threads
from orchestrator.errors import Busy, FleetError, InvalidRequest, NotFound

P = ParamSpec("P")
R = TypeVar("R")

BLOCK_BYTES = 1 << 20
THREADS = 8
RETRY_S = 10.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MISPLACED = (NotADirectoryError, IsADirectoryError, FileExistsError)


class LocalStorage:
    """See Storage."""

    def __init__(self, root: Path) -> None:
        """Makes the folder and sweeps what crashed writes left. Raises Busy as every verb does."""
        self._root = root
        self._threads = Threads(THREADS)
        try:
            self._incoming = Incoming(root / ".incoming")
        except OSError as error:
            raise self._explain(error) from error

    async def put(self, key: str, data: bytes | AsyncIterator[bytes], content_type: str) -> Stored:
        target = self._path(key)
        if isinstance(data, bytes):
            return await self._run(self._put_whole, target, data)
        part = Part(self._incoming.path())
        try:
            await self._run(part.open)
            async for block in blocks(data, BLOCK_BYTES):
                await self._run(part.write, block)
            return await self._run(self._publish, part, target)
        except BaseException:
            await self._run(part.discard)
            raise

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        return pieces(self._fetch, key, start, end, BLOCK_BYTES)

    async def size(self, key: str) -> int:
        return (await self._run(_stat, self._path(key), key)).st_size

    async def url(
        self, key: str, expires_s: float, filename: str, content_type: str = "application/octet-stream"
    ) -> None:
        check_key(key)

    async def delete(self, key: str) -> None:
        await self._run(self._remove, self._path(key))

    async def delete_prefix(self, prefix: str) -> None:
        await self._run(self._remove_folder, self._path(prefix))

    async def close(self) -> None:
        await self._threads.close()
        self._incoming.close()

    # --- what follows runs in threads ---

    def _put_whole(self, target: Path, data: bytes) -> Stored:
        part = Part(self._incoming.path())
        try:
            part.open()
            part.write(data)
            return self._publish(part, target)
        except BaseException:
            part.discard()
            raise

    def _publish(self, part: Part, target: Path) -> Stored:
        part.sync()
        for races in itertools.count():
            try:
                if races:
                    target.parent.mkdir(parents=True, exist_ok=True)
                part.path.replace(target)
                break
            except (FileNotFoundError, FileExistsError):  # no such folder yet, or a delete prunes it this moment
                if races == MAX_RACES:
                    raise
        _sync_folder(target.parent)
        return Stored(part.size, f"blake3:{part.hasher.hexdigest()}")

    async def _fetch(self, key: str, start: int, stop: int, version: str | None) -> Piece:
        piece = await self._run(_read_range, self._path(key), key, start, stop)
        if version not in (None, piece.version):
            raise Busy("storage_changed", f"{key} was replaced while it was read; read it again", retry_after=1.0)
        return piece

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._prune(path.parent)

    def _remove_folder(self, folder: Path) -> None:
        doomed = self._incoming.path()
        if folder.is_dir():
            with suppress(FileNotFoundError):  # somebody else is deleting it, too
                folder.rename(doomed)  # gone at once for everybody, and the sweep's if we crash here
                remove(doomed)
        self._prune(folder.parent)

    def _prune(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass  # somebody else was first; what it lay in may be empty, too
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return
                raise
            folder = folder.parent

    # --- keys and errors ---

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    async def _run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await self._threads.run(call, *args, **kwargs)
        except OSError as error:
            raise self._explain(error) from error

    def _explain(self, error: OSError) -> FleetError:
        if error.errno in _FULL:
            return Busy(
                "storage_full",
                f"no space left in {self._root}: free some, or point storage.path at a larger disk",
                retry_after=RETRY_S,
            )
        if isinstance(error, _MISPLACED):
            return InvalidRequest("invalid_key", f"a file stands where the key needs a folder, or the reverse: {error}")
        return Busy(
            "storage_unavailable",
            f"cannot use the storage folder {self._root} ({error}): check that its disk is mounted and writable for "
            f"user {os.getuid()}, or change storage.path",
            retry_after=RETRY_S,
        )


def _sync_folder(folder: Path) -> None:
    """Makes a rename outlast a power cut."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # deleted already, with what was in it
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stat(path: Path, key: str) -> os.stat_result:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        found = None
    if found is None or not stat.S_ISREG(found.st_mode):
        raise NotFound("not_stored", f"nothing is stored as {key}")
    return found


def _read_range(path: Path, key: str, start: int, stop: int) -> Piece:
    try:
        file = path.open("rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise NotFound("not_stored", f"nothing is stored as {key}") from None
    with file:
        found = os.fstat(file.fileno())
        data = os.pread(file.fileno(), max(min(stop, found.st_size) - start, 0), start)
    return Piece(data, found.st_size, f"{found.st_ino}-{found.st_mtime_ns}")
