"""Prefetch: reads model files that are about to be needed into the page cache, so that loading them waits for no disk.

Only for a ComfyUI on this machine whose folder is known. It is a courtesy and nothing depends on it: files that are
not found, do not fit into memory or cannot be read are left for ComfyUI to read when it needs them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from orchestrator.domain.needs import ModelRef

log = logging.getLogger(__name__)

CHUNK_BYTES = 16 * 2**20  # after each it can be stopped; large enough for a disk to be at its best
SHARE = 0.7  # of the time that is spent on reading: in the rest the disk is there for whoever executes
ROOM = 2  # times a file's bytes have to be available in memory, or it would push out what was read before it


class Prefetcher:
    """Of one worker. `find` answers where a model's file is, `staged` is told of each that was read."""

    def __init__(self, find: Callable[[ModelRef], Path | None], staged: Callable[[ModelRef], None]) -> None:
        self._find = find
        self._staged = staged
        self._wanted: Sequence[ModelRef] = ()
        self._changed = asyncio.Event()

    def want(self, models: Sequence[ModelRef]) -> None:
        """From now on these, in this order, and nothing else: what is being read is given up within a chunk."""
        self._wanted = models
        self._changed.set()

    async def run(self) -> None:
        """For ever. Cancelling it leaves no thread that reads on beyond a chunk."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for model in self._wanted:
                if self._changed.is_set():
                    break
                path = await asyncio.to_thread(self._find, model)
                if path is not None and await self._read(path):
                    self._staged(model)

    async def _read(self, path: Path) -> bool:
        """Whether all of it was read."""
        try:
            file = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            log.info("%s is not read ahead: %s", path, error.strerror)
            return False
        try:
            size = os.fstat(file).st_size
            if size * ROOM > await asyncio.to_thread(available_bytes):
                log.info("%s is not read ahead: its %d bytes would crowd the memory", path, size)
                return False
            return await self._warm(file, size)
        except OSError as error:
            log.info("%s is read ahead no further: %s", path, error.strerror)
            return False
        finally:
            os.close(file)

    async def _warm(self, file: int, size: int) -> bool:
        offset = 0
        while offset < size:
            if self._changed.is_set():
                return False
            began = monotonic()
            reading = asyncio.ensure_future(asyncio.to_thread(_touch, file, offset))
            try:
                read = await asyncio.shield(reading)
            except asyncio.CancelledError:
                await reading  # the file is closed next
                raise
            if not read:
                return False  # it was cut short meanwhile
            offset += read
            await asyncio.sleep((monotonic() - began) * (1 / SHARE - 1))
        return True


def available_bytes() -> int:
    """Memory that can be had without swapping, cached files that can go included."""
    with Path("/proc/meminfo").open() as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _touch(file: int, offset: int) -> int:
    """Reads a chunk and throws it away: the kernel keeps it. Answers its bytes when they are there, which advice to
    the kernel alone (posix_fadvise) would not tell."""
    os.posix_fadvise(file, offset, CHUNK_BYTES, os.POSIX_FADV_WILLNEED)
    return os.preadv(file, [_BUFFER], offset)


_BUFFER = bytearray(CHUNK_BYTES)  # what is read into it is nobody's: all threads may share it
