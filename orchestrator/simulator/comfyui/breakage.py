"""What the faults do that strike where prompts are executed: the exceptions of torch, and thread, files and memory.

The words are those that people report: torch.OutOfMemoryError says "Allocation on device" where ComfyUI uses
cudaMallocAsync, which it does on most cards; torch.AcceleratorError quotes CUDA, and comes again from everything that
touches the device, as its context is lost.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.simulator.comfyui.faults import Fault, Faults, Kind
from orchestrator.simulator.comfyui.nodes import NodeClass
from orchestrator.simulator.comfyui.queue import Item
from orchestrator.simulator.comfyui.run import DeviceError, Machine
from orchestrator.simulator.comfyui.sockets import Sockets

ON_DEVICE = frozenset({"ImageBlur", "ImageSharpen", "Canny"})
"""Nodes without a model that compute on the device all the same; those with one use it as they place its weights."""

OUT_OF_MEMORY_TIPS = (
    "This error means you ran out of memory on your GPU.\n\n"
    "TIPS: If the workflow worked before you might have accidentally set the batch_size to a large number."
)


class OutOfMemoryError(RuntimeError):
    """torch's."""

    __module__ = "torch"


class Breakage:
    """Of one simulated ComfyUI."""

    def __init__(self, machine: Machine, sockets: Sockets) -> None:
        self._machine = machine
        self._faults: Faults = machine.faults
        self._sockets = sockets
        self._leaked: list[bytes] = []

    def before_node(self, item: Item, node_class: NodeClass) -> None:
        """Raises what the node would."""
        strike = partial(self._faults.strike, class_type=node_class.name, prompt_id=item.prompt_id, prompt=item.prompt)
        if strike(Kind.CRASH):
            os.kill(os.getpid(), signal.SIGKILL)
        if strike(Kind.DROP_SOCKETS):
            self._sockets.drop()
        if strike(Kind.REPLACE_SOCKETS):
            self._sockets.forget()
        if strike(Kind.HANG):
            self._machine.hang()
        if (fault := strike(Kind.STALL)) is not None:
            self._machine.wait(fault.seconds)
        if strike(Kind.OUT_OF_MEMORY):
            raise OutOfMemoryError("Allocation on device ")
        if strike(Kind.DEVICE_ERROR):
            self._faults.device_broken = True
            raise DeviceError
        if self._faults.device_broken and node_class.name in ON_DEVICE:
            raise DeviceError
        if node_class.is_output and strike(Kind.DISK_FULL):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def kills_thread(self, item: Item) -> bool:
        """Whether the executing thread ends now that it has taken this prompt."""
        return self._of(item)(Kind.ZOMBIE) is not None

    def after_prompt(self, item: Item, outcome: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        """What history is to keep of a prompt that was executed, and whether it is to keep it at all."""
        strike = self._of(item)
        if (fault := strike(Kind.LEAK)) is not None:
            self._leaked.append(b"\xa5" * fault.bytes)  # written to, so that it is resident
        if (fault := strike(Kind.FILL)) is not None:
            self._fill(item, fault)
        if strike(Kind.LOSE_FILES):
            self._lose_files(outcome["outputs"])
        if strike(Kind.BLANK):
            outcome = _blank(item, outcome)
        return outcome, strike(Kind.FORGET_HISTORY) is None

    def _of(self, item: Item) -> Callable[[Kind], Fault | None]:
        return partial(self._faults.strike, prompt_id=item.prompt_id, prompt=item.prompt)

    def _fill(self, item: Item, fault: Fault) -> None:
        folder = self._machine.files.by_type[fault.name or "temp"]
        (folder / f"left-behind-{item.prompt_id}.bin").write_bytes(bytes(fault.bytes))

    def _lose_files(self, outputs: Mapping[str, Mapping[str, Any]]) -> None:
        for shown in outputs.values():
            for entry in (entry for entries in shown.values() for entry in entries if isinstance(entry, Mapping)):
                folder: Path = self._machine.files.by_type[entry["type"]] / entry["subfolder"]
                (folder / entry["filename"]).unlink(missing_ok=True)


def tips_for(error: Exception) -> str:
    """What ComfyUI adds to the message of an exception."""
    return OUT_OF_MEMORY_TIPS if isinstance(error, OutOfMemoryError) else ""


def _blank(item: Item, outcome: Mapping[str, Any]) -> Mapping[str, Any]:
    status = outcome["status"]
    messages = [
        (name, {**data, "nodes": list(item.prompt)} if name == "execution_cached" else data)
        for name, data in status["messages"]
    ]
    return {"outputs": {}, "status": {**status, "messages": messages}, "meta": {}}
