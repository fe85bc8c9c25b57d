"""What a worker's memory holds: as its node pack measured it, inferred from what it ran where nothing measures. Pure.

Inference has the scheduler's own tiers, evictions and speeds (scheduling/memory.py), so that both sides of the fleet
think alike. It goes on from what was measured last, and stands in for each part that the pack cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.comfy.memory import FILES, PARTS, MemoryReport
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import Residency
from orchestrator.scheduling.memory import Memory
from orchestrator.scheduling.models import ModelFile, ModelFiles

MEASURED, INFERRED = "measured", "inferred"
NO_PACK = "its ComfyUI has not comfyfleet's node pack: link comfy_nodes into custom_nodes and restart it"
MOVED = "a run loaded models since it was measured"

RAM, DISK = "ram", "disk"

_UNSEEN = frozenset({"embeddings"})  # they are read into prompts, and are no weights that the pack could see
_MOST = 0.5  # of a file on the device, and it counts as there: ComfyUI streams the rest


@dataclass(frozen=True, slots=True)
class Loading:
    """What a run's models come to on a worker. `loads`: (tier, bytes) of each file that is not in VRAM; `hits`: files
    that are; `swaps`: whether others have to go."""

    loads: tuple[tuple[str, int], ...]
    hits: int
    swaps: bool


class WorkerMemory:
    """One worker's, since its ComfyUI was started. Sizes in bytes."""

    def __init__(self, vram_bytes: int | None, ram_bytes: int | None, sizes: Mapping[ModelRef, int]) -> None:
        self._files = ModelFiles()
        self._files.learn_sizes(sizes)
        self._sizes = dict(sizes)
        self._memory = Memory(vram_bytes, ram_bytes)
        self._held: Mapping[ModelRef, int] = {}
        self._staged: dict[ModelRef, None] = {}  # in the page cache for the next run, and not known to ComfyUI
        self._measured = False  # and nothing came or went since
        self._why = NO_PACK

    def load_s(self, models: Iterable[ModelRef]) -> float:
        """Seconds that loading these is thought to take."""
        return self._memory.load_s(map(self._files.file, models))

    def loading(self, models: Iterable[ModelRef]) -> Loading:
        """What a run with these would load, as it is thought."""
        memory, files = self._memory, [self._files.file(model) for model in models]
        missing = [file for file in files if file not in memory.vram]
        loads = tuple((RAM if file in memory.ram else DISK, memory.contents.bytes(file)) for file in missing)
        return Loading(loads, len(files) - len(missing), bool(memory.pushed_out_by(files)))

    def run(self, models: Iterable[ModelRef]) -> None:
        """Takes note that a run used these models."""
        for model in models:
            self._staged.pop(model, None)
        files = [self._files.file(model) for model in models]
        before = self._memory.vram.keys()
        self._measured = self._measured and all(file in before for file in files)
        self._memory.use(files)

    def resume(self, residency: Residency) -> None:
        """It held this when it was last looked after, and nothing says that it does not any more."""
        self._memory.report(map(self._files.file, residency.vram), map(self._files.file, residency.ram))

    def staged(self, model: ModelRef) -> None:
        """Its file was read into RAM ahead of the run that needs it."""
        file = self._files.file(model)
        if file not in self._memory.vram:
            self._staged[model] = None
            self._memory.stage([file])

    def clear(self) -> None:
        """Its models were unloaded."""
        self._memory.report((), ())
        self._held = {}

    def measure(self, report: MemoryReport) -> None:
        """What its node pack says replaces what was thought, as far as it can tell."""
        loaded, cached = report.loaded, report.cached
        blind = FILES in report.unavailable and not report.empty
        sizes = {held.file: held.file_bytes for held in (*(loaded or ()), *(cached or ())) if held.file_bytes}
        self._sizes.update(sizes)
        self._files.learn_sizes(sizes)
        ram = self._kept(self._memory.ram, blind or cached is None)
        ram.update((held.file, held.bytes) for held in cached or ())
        ram.update((model, ram.get(model)) for model in self._staged)
        vram = self._kept(self._memory.vram, blind or loaded is None)
        for held in loaded or ():
            if held.on_device >= _MOST * max(held.bytes, ram.get(held.file) or 0):
                vram[held.file] = held.on_device
            else:
                ram[held.file] = held.bytes
        vram.update((file, ram.get(file)) for file in report.patched)
        self._memory.report(map(self._files.file, vram), map(self._files.file, ram))
        self._held = {file: size for file, size in {**ram, **vram}.items() if size}
        self._measured = loaded is not None
        told = [f"{part}: {report.unavailable[part]}" for part in PARTS if part in report.unavailable]
        self._why = "; ".join(told)

    def unmeasured(self, why: str) -> None:
        """Nothing measures it, for this reason."""
        self._measured, self._why = False, why

    def report(self) -> Residency:
        """As the store keeps it."""
        vram = tuple(file.ref for file in self._memory.vram)
        ram = tuple(file.ref for file in self._memory.ram)
        return Residency(
            vram,
            ram,
            MEASURED if self._measured else INFERRED,
            sizes={ref: self._sizes[ref] for ref in (*vram, *ram) if ref in self._sizes},
            held={ref: self._held[ref] for ref in (*vram, *ram) if ref in self._held} if self._measured else {},
            why=self._why or ("" if self._measured else MOVED),
        )

    def _kept(self, tier: Iterable[ModelFile], all_of_it: bool) -> dict[ModelRef, int | None]:
        """What stays in a tier as it was inferred, without its bytes."""
        return {file.ref: None for file in tier if all_of_it or file.ref.folder in _UNSEEN}
