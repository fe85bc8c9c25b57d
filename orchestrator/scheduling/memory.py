"""What a worker holds and where: as it was reported, then as the runs given to it since will have changed it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from orchestrator.scheduling.models import DISK_BYTES_S, FIXED_S, RAM_BYTES_S, UNTOLD, ModelFile

VRAM_SHARE = 0.9  # of the device's memory that models may fill: the rest is for activations
RAM_SHARE = 0.7
PRIOR_VRAM_BYTES = 16_000_000_000  # of a worker that does not tell
PRIOR_RAM_BYTES = 32_000_000_000


class Memory:
    """Two tiers, each with the most recently used file last. What falls out of VRAM goes to RAM, and then nowhere.
    `contents`: what the worker has under the names of the files."""

    __slots__ = ("contents", "moved", "ram", "ram_bytes", "vram", "vram_bytes")

    def __init__(self, vram_bytes: int | None, ram_bytes: int | None) -> None:
        self.vram: dict[ModelFile, None] = {}
        self.ram: dict[ModelFile, None] = {}
        self.contents = UNTOLD
        self.moved = False  # whether files came or went since this was last set to False
        self.resize(vram_bytes, ram_bytes)

    def resize(self, vram_bytes: int | None, ram_bytes: int | None) -> None:
        """What the device and the machine have, where that is known."""
        self.vram_bytes = (vram_bytes or PRIOR_VRAM_BYTES) * VRAM_SHARE
        self.ram_bytes = (ram_bytes or PRIOR_RAM_BYTES) * RAM_SHARE

    def report(self, vram: Iterable[ModelFile], ram: Iterable[ModelFile]) -> None:
        """Replaces what was thought."""
        self.vram = dict.fromkeys(vram)
        self.ram = {file: None for file in ram if file not in self.vram}
        self.moved = True

    def files(self) -> frozenset[ModelFile]:
        return frozenset(self.vram) | self.ram.keys()

    def load_s(self, files: Iterable[ModelFile], most: float = inf) -> float:
        """Seconds to bring the files into VRAM, by the priors. Infinite as soon as they are seen to be over `most`."""
        seconds = 0.0
        vram = self.vram
        for file in files:
            if file not in vram:
                seconds += FIXED_S + self.contents.bytes(file) / (RAM_BYTES_S if file in self.ram else DISK_BYTES_S)
                if seconds > most:
                    return inf
        return seconds

    def reload_s(self, file: ModelFile) -> float:
        """Seconds to bring the file from RAM into VRAM, by the priors."""
        return FIXED_S + self.contents.bytes(file) / RAM_BYTES_S

    def use(self, files: Sequence[ModelFile]) -> None:
        """A run with these files was given to the worker: by its turn they are in VRAM."""
        vram, ram = self.vram, self.ram
        came = False
        for file in files:
            if file in vram:
                del vram[file]
            else:
                came = True
                ram.pop(file, None)
            vram[file] = None
        sinking = self._oldest_beyond(vram, self.vram_bytes, files)
        if came or sinking:
            self.moved = True
            for file in sinking:
                del vram[file]
                ram[file] = None
            for file in self._oldest_beyond(ram, self.ram_bytes):
                del ram[file]

    def stage(self, files: Iterable[ModelFile]) -> None:
        """Its agent was told to read these into RAM."""
        for file in files:
            if file not in self.vram:
                self.ram.pop(file, None)
                self.ram[file] = None
        for file in self._oldest_beyond(self.ram, self.ram_bytes):
            del self.ram[file]
        self.moved = True

    def pushed_out_of_ram_by(self, files: Iterable[ModelFile]) -> list[ModelFile]:
        """What would leave RAM if these were staged."""
        return self._oldest_beyond(self.ram | dict.fromkeys(files), self.ram_bytes)

    def pushed_out_by(self, files: Sequence[ModelFile]) -> list[ModelFile]:
        """What would leave VRAM if a run with these files came."""
        vram = self.vram
        return self._oldest_beyond(vram, self.vram_bytes, files, [file for file in files if file not in vram])

    def _oldest_beyond(
        self,
        tier: dict[ModelFile, None],
        capacity: float,
        kept: Sequence[ModelFile] = (),
        coming: Sequence[ModelFile] = (),
    ) -> list[ModelFile]:
        """The least recently used files that must go for the others, and those that are coming, to fit; `kept` stay
        even if they do not fit."""
        size, total = self.contents.bytes, self.contents.total
        excess = total(tier) + total(coming) - capacity
        gone: list[ModelFile] = []
        for file in tier:
            if excess <= 0:
                break
            if file not in kept:
                gone.append(file)
                excess -= size(file)
        return gone
