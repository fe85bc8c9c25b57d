"""SHA-256 of model files, computed once for each content and out of everybody's way.

A library of models takes hours to read. So nothing here waits: who asks for a digest gets what is known, and a thread
of the lowest priority works through the rest, one file at a time, also where several ComfyUIs share a user directory
and with it the table. A digest is known for a path, a size and a modification time together.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_SCHEMA = 1
_BLOCK = 4 << 20
_BATCH_S = 2.0
"""Seconds of hashing after which what is known is written down."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file as it was when it was looked at. Bytes, and nanoseconds."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str) -> Content:
        """Links are followed, so that all names of a file share one digest. Raises OSError."""
        return cls._at(os.path.realpath(path), Path(path).stat())

    @classmethod
    def _at(cls, path: str, status: os.stat_result) -> Content:
        return cls(path, status.st_size, status.st_mtime_ns)


class Hasher:
    """The digests of one machine's files, kept in the JSON file `table`. For any thread."""

    def __init__(self, table: Path) -> None:
        self._table = table
        self._guard = threading.Lock()  # around what follows; never held while a file is read
        self._digests: dict[str, tuple[int, int, str]] = {}
        self._failures: dict[Content, str] = {}
        self._waiting: dict[Content, None] = {}
        self._thread: threading.Thread | None = None
        self.fault: str | None = None
        """Why the table could not be read or written, if so: what is known may be less, or lost with this process."""
        self._read_table()

    def digest(self, content: Content) -> str | None:
        """In lower-case hexadecimal, if it is known."""
        size, mtime_ns, digest = self._digests.get(content.path, (-1, -1, ""))
        return digest if (size, mtime_ns) == (content.size, content.mtime_ns) else None

    def failure(self, content: Content) -> str | None:
        """Why its digest could not be computed. To ask again is to try again."""
        return self._failures.get(content)

    def is_waiting(self, content: Content) -> bool:
        return content in self._waiting

    def ask(self, contents: Iterable[Content], *, first: bool = False) -> None:
        """Have these hashed, `first` before all that waits; answers at once."""
        with self._guard:
            asked = {content: None for content in contents if self.digest(content) is None}
            self._failures = {content: why for content, why in self._failures.items() if content not in asked}
            self._waiting = {**asked, **self._waiting} if first else {**self._waiting, **asked}
            if self._waiting and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._work, name="comfyfleet-hashing", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        _lower_priority()
        while True:
            with _alone(self._table.with_suffix(".lock")):
                self._read_table()  # another ComfyUI may have hashed what waits here
                self._batch()
                self._write_table()
            with self._guard:
                if not self._waiting:
                    self._thread = None
                    return

    def _batch(self) -> None:
        until = time.monotonic() + _BATCH_S
        while time.monotonic() < until:
            with self._guard:
                content = next(iter(self._waiting), None)
            if content is None:
                return
            try:
                found, failure = self.digest(content) or _sha256(content), None
            except OSError as error:
                found, failure = None, f"{type(error).__name__}: {error}"
            with self._guard:
                self._waiting.pop(content, None)
                if found is not None:
                    self._digests[content.path] = (content.size, content.mtime_ns, found)
                else:
                    self._failures[content] = failure or "it changed while it was read"

    def _read_table(self) -> None:
        try:
            stored = json.loads(self._table.read_text("utf-8"))
            known = {path: _row(row) for path, row in stored["files"].items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.fault = f"{self._table}: {type(error).__name__}: {error}"
            return
        with self._guard:
            self._digests.update(known)

    def _write_table(self) -> None:
        with self._guard:
            rows = {path: list(row) for path, row in sorted(self._digests.items())}
        beside = self._table.with_suffix(f".{os.getpid()}")
        try:
            beside.write_text(json.dumps({"schema": _SCHEMA, "files": rows}), "utf-8")
            beside.replace(self._table)
        except OSError as error:
            self.fault = f"{self._table}: {type(error).__name__}: {error}"
        else:
            self.fault = None


def _row(row: Any) -> tuple[int, int, str]:
    size, mtime_ns, digest = row
    return int(size), int(mtime_ns), str(digest)


def _sha256(content: Content) -> str | None:
    """None if the file is no longer, or not to the end, what was asked for."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    with Path(content.path).open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):  # models that are in use keep their place in the page cache
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_NOREUSE)
        while count := file.readinto(block):
            digest.update(block[:count])  # without the GIL
        if Content._at(content.path, os.fstat(file.fileno())) != content:
            return None
    return digest.hexdigest()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keeps other processes out that share the table, where the file system can; a process that dies lets go."""
    with ExitStack() as stack:
        with suppress(OSError):  # a read-only folder, or one without locks: then work is done twice
            lock.parent.mkdir(parents=True, exist_ok=True)
            if fcntl is not None:
                fcntl.flock(stack.enter_context(lock.open("wb")), fcntl.LOCK_EX)
        yield


def _lower_priority() -> None:
    with suppress(OSError):  # a sandbox may forbid it
        if sys.platform == "linux":  # where threads have priorities of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
