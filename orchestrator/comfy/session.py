"""One prompt's life on a ComfyUI as a pure state machine: events in, instructions and a verdict out.

Events are hints: they say when to look, and how far it is. Only the history, through `conclude`, says how it ended.
Progress and previews are state to be sampled, not instructions, so that a burst of messages costs its listener nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.comfy.answers import Failure, FileOutput, HistoryEntry, TextOutput, parse_outputs
from orchestrator.comfy.progress import Meter
from orchestrator.comfy.protocol import Event, Executed, Executing, ExecutionStart, Preview
from orchestrator.domain.job import JobError, Progress

# What torch, the drivers and Python call it when there is no room on the device, in RAM or on disk, and when a device
# is broken until its process is restarted. CUDA errors may be about memory too: those that are do no lasting harm.
_OUT_OF_VRAM = ("outofmemoryerror", "out of memory", "allocation on device", "_status_alloc_failed")
_OUT_OF_RAM = ("memoryerror", "can't allocate memory", "not enough memory")
_DISK_FULL = ("no space left on device", "disk quota exceeded", "not enough space on the disk")
_DEVICE_BROKEN = ("cuda error", "acceleratorerror", "hip error", "cublas_status", "cudnn_status", "device-side assert")


class Instruction(StrEnum):
    """What whoever feeds a session is to do next."""

    REPORT_START = "report_start"
    FETCH_HISTORY = "fetch_history"


@dataclass(frozen=True, slots=True)
class Collect:
    """It succeeded, and this is what it made."""

    outputs: tuple[FileOutput | TextOutput, ...]


@dataclass(frozen=True, slots=True)
class Fail:
    """It would fail anywhere."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Retry:
    """It may succeed elsewhere."""

    error: JobError


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """It may succeed here with nothing else in memory, or where there is more. `on_device`: of VRAM, not of RAM."""

    error: JobError
    on_device: bool


@dataclass(frozen=True, slots=True)
class Rerun:
    """The cache swallowed its outputs: run it again, here, with the cache broken."""

    error: JobError  # what to say if that does not help


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was interrupted before its end."""


Verdict = Collect | Fail | Retry | OutOfMemory | Rerun | Stopped


class Session:
    """Follows one prompt. `wanted`: the nodes whose outputs are asked for; none: those of every output node.
    `as_shown`: all that ComfyUI shows of them is asked for, be it nothing or temporary."""

    def __init__(self, graph: Mapping[str, Any], wanted: tuple[str, ...] = (), *, as_shown: bool = False) -> None:
        self._wanted = wanted
        self._as_shown = as_shown
        self._meter = Meter(graph, wanted)
        self._preview: Preview | None = None
        self._made: list[FileOutput | TextOutput] = []
        self.started = False

    def hear(self, event: Event) -> Instruction | None:
        """Takes in an event of this prompt."""
        self._meter.hear(event)
        match event:
            case Executing(node=None):
                return Instruction.FETCH_HISTORY
            case ExecutionStart() | Executing():
                return self._start()
            case Preview():
                self._preview = event
            case Executed(node=node, shown=shown):
                self._made += filter(self._surely_wanted, parse_outputs({node: shown}))
            case _:
                pass
        return None

    def progress(self) -> Progress:
        """How far it is."""
        return self._meter.read()

    def take_made(self) -> Sequence[FileOutput | TextOutput]:
        """What nodes have made since the last call and, if the prompt succeeds, is among what is to be collected."""
        made, self._made = self._made, []
        return made

    def take_preview(self) -> Preview | None:
        """The newest picture since the last call."""
        preview, self._preview = self._preview, None
        if preview is not None and preview.node is None:
            return Preview(preview.content_type, preview.image, preview.prompt_id, self._meter.node)
        return preview

    def conclude(self, entry: HistoryEntry) -> Verdict:
        """What the history says of it."""
        if entry.interrupted:
            return Stopped()
        if entry.failure is not None:
            return _judge(entry.failure)
        if not entry.succeeded:
            return Retry(
                JobError("execution_failed", "ComfyUI ended the prompt without saying why: look into its console")
            )
        outputs = tuple(o for o in entry.outputs if not self._wanted or o.node_id in self._wanted)
        having = {output.node_id for output in outputs} | entry.reports.keys()
        missing = [node for node in self._wanted or entry.targets if node not in having]
        if entry.cached.intersection(missing):
            return Rerun(_no_outputs(missing))
        if self._as_shown:
            return Collect(tuple(o for o in entry.outputs if isinstance(o, TextOutput) or o.type != "input"))
        if self._wanted and missing:
            return Fail(_no_outputs(missing))
        return Collect(outputs if self._wanted else _durable(outputs))

    def _surely_wanted(self, output: FileOutput | TextOutput) -> bool:
        """Of what nodes show temporarily, only the end tells whether it is all that there is."""
        if self._as_shown:
            return isinstance(output, TextOutput) or output.type != "input"
        if self._wanted:
            return output.node_id in self._wanted
        return isinstance(output, TextOutput) or output.type == "output"

    def _start(self) -> Instruction | None:
        if self.started:
            return None
        self.started = True
        return Instruction.REPORT_START


def missing_file(what: str) -> Rerun:
    """The verdict when the worker has not what its history names: the cache outlived the file."""
    return Rerun(
        JobError(
            "output_missing",
            f"{what}, though its history names it: does something else delete its outputs, or do several ComfyUIs "
            "share a folder?",
        )
    )


def _judge(failure: Failure) -> Fail | Retry | OutOfMemory:
    where = {"node_id": failure.node_id, "class_type": failure.class_type, "traceback": failure.traceback or None}
    said = f"{failure.exception_type} {failure.message}".lower()
    at = f"{failure.class_type or 'a node'} (node {failure.node_id})"
    details = {"exception_type": failure.exception_type}
    on_device = any(sign in said for sign in _OUT_OF_VRAM)
    if on_device or any(sign in said for sign in _OUT_OF_RAM):
        said_first = failure.message.partition("\n")[0].strip() or failure.exception_type  # then come tips and figures
        message = f"{at} ran out of memory: {said_first}"
        return OutOfMemory(JobError("out_of_memory", message, **where, details=details), on_device)
    if any(sign in said for sign in _DISK_FULL):
        message = f"{at} could not write, as the disk of its worker is full: make room there. "
        return Retry(JobError("worker_disk_full", message + failure.message, **where, details=details))
    if any(sign in said for sign in _DEVICE_BROKEN):
        message = f"the device of the worker failed in {at}; its ComfyUI has to be restarted. "
        return Retry(JobError("device_fault", message + failure.message, **where, details=details))
    message = f"{at} failed: {failure.message or failure.exception_type}"
    return Fail(JobError("node_failed", message, **where, details=details))


def _no_outputs(missing: list[str]) -> JobError:
    return JobError(
        "no_outputs",
        f"the graph ran, but node {', '.join(missing)} left no file and no text: ask for the outputs of a node that "
        "saves something",
        node_id=missing[0],
    )


def _durable(outputs: tuple[FileOutput | TextOutput, ...]) -> tuple[FileOutput | TextOutput, ...]:
    """Texts, and what was saved; previews only if nothing was, and never an input that is merely shown again."""
    kept = "output" if any(isinstance(o, FileOutput) and o.type == "output" for o in outputs) else "temp"
    return tuple(o for o in outputs if isinstance(o, TextOutput) or o.type == kept)
