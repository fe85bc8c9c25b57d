"""Incoming: where a local storage keeps what is not a stored file yet, or not any more.

Each process holds a lock there for as long as it lives, so that several can share a folder, and whoever starts removes
what the dead left and nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import uuid
from pathlib import Path

from blake3 import blake3

MAX_RACES = 100
"""How often a folder may change between looking at it and using it, before that is no coincidence."""


class Part:
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


class Incoming:
    """Gives out names: `<process>.<n>`, beside the lock `<process>.lock`."""

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
                        remove(path)
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


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it."""
    races = itertools.count()
    while path.is_dir():
        try:
            shutil.rmtree(path)
        except OSError as error:  # a put that had found the folder before it came here adds to it
            if error.errno != errno.ENOTEMPTY or next(races) == MAX_RACES:
                raise
    path.unlink(missing_ok=True)
