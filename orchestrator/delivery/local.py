"""LocalStorage: a folder, on this machine or shared by all of them.

A file is written under `.incoming`, synced, and renamed to its key: a reader sees the whole or nothing, and a crash
leaves only what lies in `.incoming`, which the next start sweeps. Each process keeps a lock there for as long as it
lives, so that several can share a folder and none sweeps what another still writes.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import stat
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from blake3 import blake3

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
_RACES = 8  # how often a folder may be removed between making it and using it


class LocalStorage:
    """See Storage."""

    def __init__(self, root: Path) -> None:
        """Makes the folder and sweeps what crashed writes left. Raises Busy as every verb does."""
        self._root = root
        self._threads = Threads(THREADS)
        try:
            self._incoming = _Incoming(root / ".incoming")
        except OSError as error:
            raise self._explain(error) from error

    async def put(self, key: str, data: bytes | AsyncIterator[bytes], content_type: str) -> Stored:
        target = self._path(key)
        if isinstance(data, bytes):
            return await self._run(self._put_whole, target, data)
        part = _Part(self._incoming.path())
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
        part = _Part(self._incoming.path())
        try:
            part.open()
            part.write(data)
            return self._publish(part, target)
        except BaseException:
            part.discard()
            raise

    def _publish(self, part: _Part, target: Path) -> Stored:
        part.sync()
        for races in itertools.count():
            try:
                part.path.replace(target)
                break
            except FileNotFoundError:  # no such folder yet, or none any more: a delete prunes what it leaves empty
                if races == _RACES:
                    raise
                target.parent.mkdir(parents=True, exist_ok=True)
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
            folder.rename(doomed)  # gone at once for everybody, and the sweep's if we crash here
            shutil.rmtree(doomed)
        self._prune(folder.parent)

    def _prune(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
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


class _Part:
    """A file on its way in; nobody sees it until it is published."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hasher = blake3()
        self.size = 0
        self._descriptor: int | None = None

    def open(self) -> None:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def write(self, block: bytes) -> None:
        assert self._descriptor is not None
        self.hasher.update(block)
        self.size += len(block)
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def sync(self) -> None:
        assert self._descriptor is not None
        os.fsync(self._descriptor)
        self._close()

    def discard(self) -> None:
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


class _Incoming:
    """Names for what is not a stored file yet, or not any more: `<process>.<n>`, beside the lock `<process>.lock`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock, self._descriptor = self._claim()
        self._numbers = itertools.count()
        self._sweep()

    def path(self) -> Path:
        """A name that nobody else uses."""
        return self._folder / f"{self._lock.stem}.{next(self._numbers)}"

    def close(self) -> None:
        self._lock.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _claim(self) -> tuple[Path, int]:
        while True:
            path = self._folder / f"{uuid.uuid4().hex}.lock"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
            # Between those two lines another process may take it for a dead one's, and remove it.
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                return path, descriptor
            os.close(descriptor)

    def _sweep(self) -> None:
        """Removes what processes left that are no more."""
        for lock in self._folder.glob("*.lock"):
            if lock == self._lock:
                continue
            try:
                descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # its owner, or another sweep, was quicker
            try:
                if _lock(descriptor):
                    for path in self._folder.glob(f"{lock.stem}.*[0-9]"):
                        _remove_tree(path)
                    lock.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Takes the lock for as long as the descriptor is open; False when somebody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_tree(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes a rename outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
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
