"""One simulated worker: what it truly holds and does, and what its agent would tell of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from orchestrator.comfy.memory import Held, MemoryReport
from orchestrator.domain.needs import Content, ModelRef
from orchestrator.domain.run import RunState
from orchestrator.domain.worker import Worker, WorkerState
from orchestrator.scheduling.models import Contents, Offer
from orchestrator.simulator.fleet.hardware import Hardware
from orchestrator.simulator.fleet.model_files import ModelFile
from orchestrator.simulator.fleet.tiers import Loaded, Tiers
from orchestrator.store.port import RunEnd
from orchestrator.worker.residency import WorkerMemory

NOTHING = Loaded(0.0, 0, 0, 0)


class Machine:
    """See the module. `life` counts its starts: what was under way in an earlier one is void."""

    def __init__(self, hardware: Hardware, popular: Iterable[ModelFile], offer: Offer, free_loads: bool) -> None:
        """`popular`: all files that there are, the most wanted first; `offer`: of a worker that has all of them."""
        self.hardware = hardware
        self.id = hardware.info.id
        self.tiers = Tiers(hardware, popular)
        self.has: deque[str] = deque()  # run ids: what it executes, then what waits there
        self.executing: str | None = None
        self.told = WorkerState.STARTING  # its state as the store has it
        self.is_up = False
        self.life = 0
        self.fetched_at: float | None = None  # when it is looked at whether something has come to its disk
        self._sizes = {file.ref: file.bytes for file in popular}
        self._all = self.offer = offer
        self.contents = Contents({})
        self._on_disk: frozenset[ModelRef] | None = None
        self.restock()
        self._free_loads = free_loads
        self._up_since = 0.0
        self._up_s = 0.0
        self._thought_s = 0.0  # what its agent thinks that loading for the newest run took
        self._memory = self._blank()

    def came_up(self, now: float) -> None:
        self.is_up, self._up_since = True, now

    def went_down(self, now: float) -> None:
        """`has` and `executing` stay as they are until somebody notices."""
        self._up_s = self.up_s(now)
        self.is_up = False
        self.life += 1
        self.tiers.fail(now)
        self._memory = self._blank()

    def up_s(self, now: float) -> float:
        """Seconds that it was up so far."""
        return self._up_s + (now - self._up_since if self.is_up else 0.0)

    def drop_all(self) -> list[str]:
        dropped = list(self.has)
        self.has.clear()
        return dropped

    def load(self, files: Sequence[ModelFile], now: float) -> Loaded:
        """Brings what a run needs into VRAM."""
        if self._free_loads:
            return NOTHING
        models = [file.ref for file in files]
        self._note_staged(now)
        self._thought_s = self._memory.load_s(models)
        self._memory.run(models)
        return self.tiers.load(files, now)

    def restock(self) -> bool:
        """Its agent looks at the disk, and has the fleet know; whether there is anything new."""
        on_disk = frozenset(file.ref for file in self.tiers.disk.files)
        if on_disk == self._on_disk:
            return False
        self._on_disk = on_disk
        self.contents = Contents({ref: Content(size, remote=ref not in on_disk) for ref, size in self._sizes.items()})
        self.offer = self._all.without(self.contents.remote)
        return True

    def worker(self) -> Worker:
        """As the store has it."""
        return Worker(self.hardware.info, self.told, self.life, residency=self._memory.report())

    def finished(self, run_id: str, seconds: float, now: float) -> RunEnd:
        """What its agent tells of a run that ended well, after so many seconds of loading and executing."""
        if self.has.popleft() != run_id:
            raise AssertionError(f"{self.id} has ended {run_id}, which was not the first that it had")
        self.executing = None
        self._note_staged(now)
        if self.hardware.measured and self.tiers.moved:  # else it is as was inferred from the last measurement
            self.tiers.moved = False
            self._memory.measure(self._measurement())
        return RunEnd(RunState.SUCCEEDED, seconds, min(self._thought_s, seconds), self._memory.report())

    def _note_staged(self, now: float) -> None:
        """Its agent knows what it has read ahead."""
        self.tiers.settle(now)
        for file in self.tiers.staged:
            self._memory.staged(file.ref)
        self.tiers.staged.clear()

    def _measurement(self) -> MemoryReport:
        """What the node pack would tell."""
        loaded = tuple(Held(file.ref, file.bytes, file.bytes) for file in self.tiers.vram.files)
        cached = tuple(Held(file.ref, file.bytes) for file in self.tiers.ram.files)
        return MemoryReport(loaded, (), cached, not loaded and not cached, {})

    def _blank(self) -> WorkerMemory:
        """Of a ComfyUI that has just started."""
        info = self.hardware.info
        return WorkerMemory(info.vram_bytes, info.ram_bytes, self._sizes)
