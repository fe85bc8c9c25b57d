"""One process at a time, or several readers, by locks that die with whoever holds them."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class HeldError(Exception):
    """Somebody else holds the lock; the message says who."""


@contextmanager
def held(path: Path, *, shared: bool = False, waiting: Callable[[str], None] | None = None) -> Iterator[int]:
    """Holds the lock of that name and gives its descriptor, which a child that inherits it holds on to.

    When somebody else has it, `waiting` is told who, and we wait; without it, raises HeldError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 80, 0).decode(errors="replace") or "another process"
            if waiting is None:
                raise HeldError(holder) from None
            waiting(holder)
            fcntl.flock(descriptor, how)
        if not shared:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """The file is seen as it was or as it shall be, also after a crash. Of several at once, each writes its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
