"""What a worker's memory holds, inferred from what it ran, and what loading the rest cost. Pure.

ComfyUI tells nobody which models it has loaded; until something on the worker measures it, this is the best that can
be said. The tiers, their eviction and their speeds are the scheduler's own (scheduling/memory.py), so that both
sides of the fleet think alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import Residency
from orchestrator.scheduling.memory import Memory
from orchestrator.scheduling.models import ModelFiles


class InferredResidency:
    """One worker's, since its ComfyUI was started. Sizes in bytes."""

    def __init__(self, vram_bytes: int | None, ram_bytes: int | None, sizes: Mapping[ModelRef, int]) -> None:
        self._files = ModelFiles()
        self._files.learn_sizes(sizes)
        self._known = sizes.keys()
        self._limits = vram_bytes, ram_bytes
        self._memory = Memory(vram_bytes, ram_bytes)

    def run(self, models: Iterable[ModelRef]) -> float:
        """Takes note that a run used these models; answers the seconds that loading them is thought to have taken."""
        files = [self._files.file(model) for model in models]
        seconds = self._memory.load_s(files)
        self._memory.use(files)
        return seconds

    def clear(self) -> None:
        """Its models were unloaded."""
        self._memory = Memory(*self._limits)

    def report(self) -> Residency:
        """As the store keeps it."""
        vram = tuple(file.ref for file in self._memory.vram)
        ram = tuple(file.ref for file in self._memory.ram)
        sizes = {ref: self._files.file(ref).bytes for ref in (*vram, *ram) if ref in self._known}
        return Residency(vram, ram, sizes=sizes)
