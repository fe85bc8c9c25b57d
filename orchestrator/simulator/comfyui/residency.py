"""Where model weights are: a model of ComfyUI's memory with a VRAM and a RAM budget, load speeds and LRU eviction.

Every load is counted, so that a test can say how often a fleet moved which model.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from orchestrator.simulator.comfyui.config import SimConfig
from orchestrator.simulator.comfyui.values import Weights

_Placed = tuple[int, str, tuple[str, ...]]
"""Identifies weights in VRAM: the same file patched otherwise has to be moved again."""


class Reading(NamedTuple):
    """A model file that was read from disk."""

    load: int
    file: str
    size: int
    seconds: float


class Residency:
    """Used by the executing thread alone; the figures may be read from any."""

    def __init__(self, config: SimConfig) -> None:
        self._config = config
        self._next_load = 0
        self._ram: OrderedDict[int, tuple[str, int]] = OrderedDict()
        self._vram: OrderedDict[_Placed, Weights] = OrderedDict()
        self.disk_loads: Counter[str] = Counter()
        """Folder/name -> times read from disk into RAM."""
        self.vram_loads: Counter[str] = Counter()
        """Folder/name -> times moved from RAM into VRAM."""

    def read(self, folder: str, name: str) -> Reading:
        """Read a model file into RAM."""
        file, size = f"{folder}/{name}", self._config.model_files[folder][name]
        self._next_load += 1
        self._hold(self._next_load, file, size)
        return Reading(self._next_load, file, size, size / self._config.disk_speed)

    def place(self, weights: Iterable[Weights]) -> float:
        """Have weights in VRAM; returns the seconds that it takes."""
        seconds = 0.0
        for part in weights:
            key = (part.load, part.part, part.patches)
            if key in self._vram:
                self._vram.move_to_end(key)
                continue
            if part.load in self._ram:
                self._ram.move_to_end(part.load)
            else:
                size = self._file_size(part.file)
                self._hold(part.load, part.file, size)
                seconds += size / self._config.disk_speed
            self._make_room(part.size)
            self._vram[key] = part
            self.vram_loads[part.file] += 1
            seconds += part.size / self._config.bus_speed
        return seconds

    def alive(self, loads: Collection[int]) -> bool:
        return all(load in self._ram for load in loads)

    def keep(self, loads: Collection[int]) -> None:
        """Let go of everything but these loads: nothing refers to the others any more."""
        for load in [load for load in self._ram if load not in loads]:
            self._drop(load)

    def empty_vram(self) -> None:
        self._vram.clear()

    @property
    def placed(self) -> Sequence[Weights]:
        """What is in VRAM, least recently used first."""
        return list(self._vram.values())

    @property
    def read_files(self) -> Sequence[tuple[str, int]]:
        """File and size of what is in RAM, least recently used first."""
        return list(self._ram.values())

    @property
    def vram_used(self) -> int:
        return min(sum(part.size for part in self.placed), self._config.vram_bytes)

    @property
    def ram_used(self) -> int:
        return min(sum(size for _, size in self.read_files), self._config.ram_bytes)

    def snapshot(self) -> dict[str, Any]:
        """Loads and resident files, least recently used first."""
        return {
            "loads": {
                file: {"disk": self.disk_loads[file], "vram": self.vram_loads[file]}
                for file in sorted({*self.disk_loads, *self.vram_loads})
            },
            "vram": list(dict.fromkeys(part.file for part in self.placed)),
            "ram": list(dict.fromkeys(file for file, _ in self.read_files)),
        }

    def _hold(self, load: int, file: str, size: int) -> None:
        while self._ram and self._total_ram() + size > self._config.ram_bytes:
            self._drop(next(iter(self._ram)))
        self._ram[load] = (file, size)
        self.disk_loads[file] += 1

    def _make_room(self, size: int) -> None:
        """A model larger than the VRAM takes all of it: ComfyUI then streams the rest."""
        while self._vram and sum(part.size for part in self._vram.values()) + size > self._config.vram_bytes:
            self._vram.popitem(last=False)

    def _drop(self, load: int) -> None:
        del self._ram[load]
        for key in [key for key in self._vram if key[0] == load]:
            del self._vram[key]

    def _total_ram(self) -> int:
        return sum(size for _, size in self._ram.values())

    def _file_size(self, file: str) -> int:
        folder, _, name = file.partition("/")
        return self._config.model_files[folder][name]
