"""Storage: where outputs and assets lie. One port, so that nothing else knows a folder from a bucket.

What is put is seen whole or not at all, and its BLAKE3 is computed on the way. What is read is exactly the bytes that
were asked for, or an error: a truncated file is never passed on as if it were whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from orchestrator.errors import NotFound


@dataclass(frozen=True, slots=True)
class Stored:
    """What was written."""

    size_bytes: int
    hash: str  # "blake3:<hex>"


class Storage(Protocol):
    """Keys are checked (see keys.py): a bad one is InvalidRequest("invalid_key").

    Every verb raises Busy("storage_full") when there is no room, and Busy("storage_unavailable") when the storage
    cannot be reached or refuses us; the message says where it is and what to check.
    """

    async def put(self, key: str, data: bytes | AsyncIterator[bytes], content_type: str) -> Stored:
        """Writes, or replaces, the whole. A stream takes bounded memory, and leaves nothing when it fails."""
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Exactly the bytes from `start` up to `end` (None: all there is).

        Pass the recorded size as `end` and a truncated file raises NotFound("stored_truncated") before the first byte.
        Also NotFound("not_stored"), and Busy("storage_changed") when it is replaced meanwhile.
        """
        ...

    async def size(self, key: str) -> int:
        """Bytes. Raises NotFound("not_stored")."""
        ...

    async def url(
        self, key: str, expires_s: float, filename: str, content_type: str = "application/octet-stream"
    ) -> str | None:
        """An address that anybody may fetch the file from until then, as serving.py says; None: serve it yourself."""
        ...

    async def delete(self, key: str) -> None:
        """Does nothing when it is gone already."""
        ...

    async def delete_prefix(self, prefix: str) -> None:
        """Deletes everything below `prefix`, which names a folder: "runs/ab" does not touch "runs/abc/..."."""
        ...

    async def close(self) -> None:
        """Ends its threads and connections, once what they do is done."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a stored file, with the size of the whole and what tells its versions apart."""

    data: bytes
    total: int
    version: str


Fetch = Callable[[str, int, int, str | None], Awaitable[Piece]]
"""(key, start, stop, version): the bytes of that version (None: any) that lie within the range."""


async def pieces(fetch: Fetch, key: str, start: int, end: int | None, size: int) -> AsyncIterator[bytes]:
    """How every storage reads: independent ranges of `size` bytes, so that a slow or vanished reader holds nothing."""
    version: str | None = None
    while end is None or start < end or version is None:
        piece = await fetch(key, start, start + size if end is None else min(start + size, end), version)
        end = piece.total if end is None else end
        if piece.total < end or start > end or (start < end and not piece.data):
            raise NotFound("stored_truncated", f"{key} is damaged: {piece.total} bytes are stored of {max(start, end)}")
        if piece.data:
            yield piece.data
        start, version = start + len(piece.data), piece.version


async def blocks(source: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The stream in blocks of exactly `size` bytes; only the last is shorter."""
    buffer = bytearray()
    async for chunk in source:
        buffer += chunk
        while len(buffer) >= size:
            yield bytes(memoryview(buffer)[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)
