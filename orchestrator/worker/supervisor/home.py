"""Home: the folder of one supervised worker. What its ComfyUI reads and writes is in it, and in no other's.

Two ComfyUIs that share a folder share its file counter, and overwrite each other's outputs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from orchestrator.errors import InvalidRequest

_SETTLED_S = 1.0  # a file that was written later may still be about to be collected


class Home:
    """At `folder`, which outlives the process and the agent; `log` is where its ComfyUI writes what it says."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.log = log
        self.record = folder / "process.json"
        self.input = folder / "input"
        self.output = folder / "output"
        self.temp = folder / "temp"
        self.user = folder / "user"
        self.hashes = folder.parent / "sha256.json"  # what our node packs know of models: those of one machine share it
        self._lock: TextIOWrapper | None = None

    def claim(self) -> None:
        """Keeps other agents away, until this process ends or `release`. Raises InvalidRequest("worker_in_use")."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise InvalidRequest(
                "worker_in_use",
                f"another comfyfleet on this machine supervises the worker of {self.folder}: stop it, or give this "
                "one another data_dir and the entry under `workers:` another id",
            ) from None
        self._lock = lock

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def furnish(self) -> None:
        """For a ComfyUI that is about to start: every folder there, and nothing left of the one before."""
        for folder in (self.input, self.output, self.temp):
            if folder.exists():
                shutil.rmtree(folder)
        for folder in (self.input, self.output, self.temp, self.user, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)

    def sweep(self, run_ids: Iterable[str], busy_s: float) -> None:
        """Deletes what those runs saved, which was collected, and what lies in temp from before the last `busy_s`
        seconds: how long the oldest of the runs that go on has been there."""
        for run_id in run_ids:
            shutil.rmtree(self.output / "fleet" / run_id, ignore_errors=True)
        until = time.time() - busy_s - _SETTLED_S
        for file, stat in _files(self.temp):
            if stat.st_mtime < until:
                file.unlink(missing_ok=True)

    def own_bytes(self) -> int:
        """What a fresh start would free."""
        return sum(stat.st_size for folder in (self.input, self.output, self.temp) for _, stat in _files(folder))

    def free_bytes(self) -> int:
        """On the disk that its files go to."""
        return shutil.disk_usage(self.folder).free


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All files below it. ComfyUI deletes some itself, perhaps right now."""
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            with suppress(FileNotFoundError):
                yield file, file.stat()
