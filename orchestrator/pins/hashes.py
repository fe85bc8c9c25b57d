"""SHA-256 of model files, each content read once: a library of models takes hours to read.

A digest is known for a path, a size and a modification time together, and is kept in one small file that all processes
of a machine share.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import orjson

from orchestrator.errors import Busy
from orchestrator.pins.exclusive import held, write_atomically

SCHEMA = 1
BLOCK_BYTES = 4 << 20
_SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago may change again without its time telling, so it is not remembered."""


class Hashes:
    """What is known of files' content, by `table`: a JSON file."""

    def __init__(self, table: Path) -> None:
        self._table = table
        self._known: dict[str, tuple[int, int, str]] | None = None

    def sha256(self, path: Path) -> str:
        """Of the file behind the path, in hex. Raises OSError, and Busy("file_changed") when it changes meanwhile."""
        real = path.resolve(strict=True)
        before = real.stat()
        if known := self.known(real, before):
            return known
        digest = hash_file(real)
        after = real.stat()
        if _version(before) != _version(after):
            raise Busy("file_changed", f"{path} was written to while it was read: try again when it is whole", 10.0)
        if time.time_ns() - after.st_mtime_ns > _SETTLED_NS:
            self.remember(real, digest)
        return digest

    def known(self, real: Path, status: os.stat_result) -> str | None:
        """The digest of a resolved path in this version, unless it would have to be read."""
        if self._known is None:
            self._known = self._read()
        entry = self._known.get(str(real))
        return entry[2] if entry and entry[:2] == _version(status) else None

    def remember(self, real: Path, digest: str) -> None:
        """The file at a resolved path has this digest as it is now."""
        entry = (*_version(real.stat()), digest)
        with held(self._table.with_suffix(".lock"), waiting=_patiently):
            self._known = {**self._read(), str(real): entry}
            write_atomically(self._table, orjson.dumps({"schema": SCHEMA, "files": self._known}))

    def _read(self) -> dict[str, tuple[int, int, str]]:
        """A table that is missing or damaged costs time, and nothing else."""
        try:
            document: Any = orjson.loads(self._table.read_bytes())
            files = document["files"].items() if document["schema"] == SCHEMA else ()
            return {path: (int(size), int(mtime_ns), str(digest)) for path, (size, mtime_ns, digest) in files}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def hash_file(path: Path) -> str:
    """The SHA-256 of what is in the file, read in blocks. Raises OSError."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def _patiently(_holder: str) -> None:
    """It takes milliseconds."""


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
