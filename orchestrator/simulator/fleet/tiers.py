"""What one simulated worker truly holds: VRAM, RAM, disk, and the rest over the network; the oldest used goes first.

What falls out of VRAM goes to RAM, what falls out of RAM is still on the disk, and the disk forgets at last. Files
that are staged go from disk or network to RAM while the worker executes; loading stops that, as it takes the disk.
Files that are fetched go from the network to the disk, whatever else happens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.simulator.fleet.hardware import Hardware
from orchestrator.simulator.fleet.model_files import ModelFile


class Loaded(NamedTuple):
    """What bringing files into VRAM came to."""

    seconds: float
    files: int
    bytes: int
    pushed_out: int  # files that had to leave VRAM


class Tier:
    """Files up to a number of bytes, the most recently used last."""

    def __init__(self, capacity: float) -> None:
        self.files: dict[ModelFile, None] = {}
        self._capacity = capacity
        self._used = 0

    def __contains__(self, file: ModelFile) -> bool:
        return file in self.files

    def put(self, file: ModelFile) -> None:
        if file in self.files:
            del self.files[file]
        else:
            self._used += file.bytes
        self.files[file] = None

    def drop(self, file: ModelFile) -> None:
        if file in self.files:
            del self.files[file]
            self._used -= file.bytes

    def overflow(self, kept: Iterable[ModelFile] = ()) -> list[ModelFile]:
        """Drops and answers what must go for the others to fit; `kept` stay even if they do not."""
        if self._used <= self._capacity:
            return []
        gone: list[ModelFile] = []
        excess = self._used - self._capacity
        for file in self.files:
            if excess <= 0:
                break
            if file not in kept:
                gone.append(file)
                excess -= file.bytes
        for file in gone:
            self.drop(file)
        return gone

    def clear(self) -> None:
        self.files.clear()
        self._used = 0


class Tiers:
    """See the module. Times are those of the simulation, in seconds."""

    def __init__(self, hardware: Hardware, on_disk: Iterable[ModelFile]) -> None:
        """`on_disk`: what was put there beforehand, the most wanted first; what does not fit is left out."""
        self.vram = Tier(hardware.vram_bytes)
        self.ram = Tier(hardware.ram_bytes)
        self.disk = Tier(hardware.disk_bytes)
        self.staged_bytes = 0
        self.staged: list[ModelFile] = []  # since this was last emptied
        self.moved = False  # whether files came or went since this was last set to False
        self._hardware = hardware
        self._staging: dict[ModelFile, float] = {}  # bytes that have come already
        self._staged_until = 0.0  # as far as staging was worked out
        self._fetching: dict[ModelFile, float] = {}  # bytes that have come already
        self._fetched_until = 0.0
        room = hardware.disk_bytes
        chosen: list[ModelFile] = []
        for file in on_disk:
            if file.bytes <= room:
                room -= file.bytes
                chosen.append(file)
        for file in reversed(chosen):
            self.disk.put(file)

    def load(self, files: Iterable[ModelFile], now: float) -> Loaded:
        """Brings the files into VRAM, one after the other."""
        self._stage_until(now)
        seconds, count, size = 0.0, 0, 0
        kept = dict.fromkeys(files)
        for file in kept:
            if file not in self.vram:
                seconds += self._hardware.fixed_s + self._fetch_s(file)
                count += 1
                size += file.bytes
                self.ram.drop(file)
            self.vram.put(file)
            self.disk.put(file)
        self.moved = self.moved or count > 0
        pushed_out = self.vram.overflow(kept)
        for file in pushed_out:
            self.ram.put(file)
        self.ram.overflow()
        self.disk.overflow(kept)
        self._staged_until = now + seconds
        return Loaded(seconds, count, size, len(pushed_out))

    def stage(self, files: Iterable[ModelFile], now: float) -> None:
        """Has these brought to RAM in the background, in this order, and nothing else any more."""
        self._stage_until(now)
        wanted = [file for file in files if file not in self.vram and file not in self.ram]
        self._staging = {file: self._staging.get(file, 0.0) for file in wanted}

    def fetch(self, files: Iterable[ModelFile], now: float) -> None:
        """Has these brought to disk in the background, in this order, and nothing else any more."""
        self._fetch_until(now)
        wanted = [file for file in files if file not in self.disk]
        self._fetching = {file: self._fetching.get(file, 0.0) for file in wanted}

    def fetched_at(self) -> float | None:
        """When the next file that is fetched will be there."""
        for file, came in self._fetching.items():
            return self._fetched_until + (file.bytes - came) / self._hardware.net_bytes_s
        return None

    def settle(self, now: float) -> None:
        """Works out what staging and fetching have brought by now."""
        self._stage_until(now)
        self._fetch_until(now)

    def fail(self, now: float) -> None:
        """The machine goes down: what memory held is lost."""
        self.vram.clear()
        self.ram.clear()
        self._staging.clear()
        self._fetching.clear()
        self.staged.clear()
        self._staged_until = self._fetched_until = now

    def _fetch_s(self, file: ModelFile) -> float:
        """Seconds from where the file is to VRAM. What was staged of it comes from RAM."""
        here = self._hardware
        if file in self.ram:
            return file.bytes / here.ram_bytes_s
        came = self._staging.pop(file, 0.0)
        return came / here.ram_bytes_s + (file.bytes - came) / self._slow_bytes_s(file)

    def _slow_bytes_s(self, file: ModelFile) -> float:
        return self._hardware.disk_bytes_s if file in self.disk else self._hardware.net_bytes_s

    def _stage_until(self, now: float) -> None:
        left_s = now - self._staged_until
        while left_s > 0 and self._staging:
            file, came = next(iter(self._staging.items()))
            rate = self._slow_bytes_s(file)
            needed_s = (file.bytes - came) / rate
            if needed_s > left_s:
                self._staging[file] = came + left_s * rate
                self.staged_bytes += round(left_s * rate)
                break
            left_s -= needed_s
            self.staged_bytes += round(file.bytes - came)
            del self._staging[file]
            self.moved = True
            self.staged.append(file)
            self.ram.put(file)
            self.disk.put(file)
            self.ram.overflow()
            self.disk.overflow((file,))
        self._staged_until = max(self._staged_until, now)

    def _fetch_until(self, now: float) -> None:
        while (at := self.fetched_at()) is not None and at <= now:
            file = next(iter(self._fetching))
            del self._fetching[file]
            self.disk.put(file)
            self.disk.overflow((file,))
            self._fetched_until = at
        for file in self._fetching:
            self._fetching[file] += (now - self._fetched_until) * self._hardware.net_bytes_s
            break
        self._fetched_until = max(self._fetched_until, now)
