"""What a node function may do to the world: see whether it is interrupted, take time, report progress, hold models."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image

from orchestrator.simulator.comfyui.config import SimConfig
from orchestrator.simulator.comfyui.faults import Faults, Kind
from orchestrator.simulator.comfyui.files import Files
from orchestrator.simulator.comfyui.residency import Reading, Residency
from orchestrator.simulator.comfyui.values import Weights

PROGRESS_INTERVAL = 0.1
PROGRESS_PERCENT = 0.5


class Preview(NamedTuple):
    """A picture to send along with progress."""

    image: Image.Image
    format: str = "JPEG"
    max_side: int | None = 512


class Interrupted(Exception):
    """ComfyUI's InterruptProcessingException."""


class DeviceError(RuntimeError):
    """torch.AcceleratorError: the device's context is lost, and nothing in this process can use it any more."""

    def __init__(self) -> None:
        super().__init__(
            "CUDA error: an illegal memory access was encountered\n"
            "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below "
            "might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
            "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
        )


DeviceError.__module__, DeviceError.__qualname__ = "torch", "AcceleratorError"


class Stopped(BaseException):
    """The simulator is shutting down; no node may handle it."""


class Interrupt:
    """ComfyUI's flag: set over HTTP, seen (and cleared) by the executing thread at its next check."""

    def __init__(self) -> None:
        self._flag = threading.Event()

    def set(self) -> None:
        self._flag.set()

    def clear(self) -> None:
        self._flag.clear()

    def check(self) -> None:
        """Raises Interrupted once for every time it was set."""
        if self._flag.is_set():
            self._flag.clear()
            raise Interrupted


@dataclass(frozen=True)
class Machine:
    """What outlives a prompt: the same for every run of one simulated ComfyUI."""

    config: SimConfig
    files: Files
    residency: Residency
    interrupt: Interrupt
    faults: Faults
    stop: threading.Event

    def wait(self, seconds: float) -> None:
        """Take time, as a GPU or a disk would: nothing but the end of the simulator cuts it short."""
        if seconds > 0 and self.stop.wait(seconds):
            raise Stopped

    def hang(self) -> None:
        """Take all the time there is."""
        self.stop.wait()
        raise Stopped


@dataclass
class Run:
    """One prompt in execution, as its nodes see it."""

    machine: Machine
    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    previews: bool
    report: Callable[[str, int, int, Preview | None], None]
    """Given node id, value, max and perhaps a preview."""
    node_id: str = ""

    @property
    def files(self) -> Files:
        return self.machine.files

    def read_model(self, folder: str, name: str) -> Reading:
        reading = self.machine.residency.read(folder, name)
        slow = self.machine.faults.strike(Kind.SLOW_LOAD, prompt=self.prompt)
        self.machine.wait(reading.seconds + (slow.seconds if slow else 0.0))
        return reading

    def place(self, weights: Iterable[Weights]) -> None:
        """Have weights in VRAM. Raises DeviceError when there is no using the device any more."""
        if self.machine.faults.device_broken:
            raise DeviceError
        self.machine.wait(self.machine.residency.place(weights))

    def progress(self, total: int) -> Progress:
        return Progress(self, total)


class Progress:
    """A node's progress bar, with ComfyUI's throttle."""

    def __init__(self, run: Run, total: int) -> None:
        self._run = run
        self._total = total
        self._sent_value = -1
        self._sent_at = 0.0

    def update(self, value: int, preview: Preview | None = None) -> None:
        """Raises Interrupted when an interrupt was asked for: a sampler sees it between two steps, and only there."""
        self._run.machine.interrupt.check()
        if preview is None and self._run.machine.config.profile.throttles_progress and self._too_soon(value):
            return
        self._sent_value, self._sent_at = value, time.perf_counter()
        self._run.report(self._run.node_id, value, self._total, preview)

    def _too_soon(self, value: int) -> bool:
        if self._sent_value < 0 or value >= self._total:
            return False
        changed = (value - self._sent_value) / self._total * 100
        return time.perf_counter() - self._sent_at < PROGRESS_INTERVAL or changed < PROGRESS_PERCENT
