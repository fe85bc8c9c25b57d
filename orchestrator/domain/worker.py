"""Worker: one ComfyUI process with one device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.domain.needs import ModelRef


class WorkerKind(StrEnum):
    ATTACHED = "attached"  # we are given its URL, and cannot restart it
    SUPERVISED = "supervised"  # its agent starts and watches it


class WorkerState(StrEnum):
    STARTING = "starting"  # registered; its ComfyUI does not answer yet
    READY = "ready"  # takes runs
    DRAINING = "draining"  # finishes what it has, takes nothing new
    RECYCLING = "recycling"  # finishes what it executes, and then gets a fresh ComfyUI
    QUARANTINED = "quarantined"  # its ComfyUI failed again and again, or is not what its lock says
    DOWN = "down"  # its lease ran out, or its ComfyUI stopped answering


class WorkerEvent(StrEnum):
    REGISTER = "register"  # an agent took it over
    ANSWER = "answer"  # its ComfyUI answers and was inspected
    DRAIN = "drain"
    RESUME = "resume"
    RECYCLE = "recycle"  # an operator, or its agent, wants a fresh ComfyUI there
    QUARANTINE = "quarantine"  # its agent gave up starting it, or must not use it
    LOSE = "lose"  # lease expired, agent stopped, or ComfyUI gone


# An operator's drain is kept beside the state, so that it outlives a crash: a drained worker that answers again is
# drained again (see store/lua/inspected.lua). That is why DRAIN and RESUME are legal in every state. A ComfyUI that is
# starting already, or that nobody looks after, cannot be recycled: there RECYCLE is refused.
TRANSITIONS: Mapping[tuple[WorkerState, WorkerEvent], WorkerState] = {
    (WorkerState.STARTING, WorkerEvent.REGISTER): WorkerState.STARTING,
    (WorkerState.STARTING, WorkerEvent.ANSWER): WorkerState.READY,
    (WorkerState.STARTING, WorkerEvent.DRAIN): WorkerState.STARTING,
    (WorkerState.STARTING, WorkerEvent.RESUME): WorkerState.STARTING,
    (WorkerState.STARTING, WorkerEvent.QUARANTINE): WorkerState.QUARANTINED,
    (WorkerState.STARTING, WorkerEvent.LOSE): WorkerState.DOWN,
    (WorkerState.READY, WorkerEvent.REGISTER): WorkerState.STARTING,
    (WorkerState.READY, WorkerEvent.ANSWER): WorkerState.READY,
    (WorkerState.READY, WorkerEvent.DRAIN): WorkerState.DRAINING,
    (WorkerState.READY, WorkerEvent.RESUME): WorkerState.READY,
    (WorkerState.READY, WorkerEvent.RECYCLE): WorkerState.RECYCLING,
    (WorkerState.READY, WorkerEvent.LOSE): WorkerState.DOWN,
    (WorkerState.DRAINING, WorkerEvent.REGISTER): WorkerState.STARTING,
    (WorkerState.DRAINING, WorkerEvent.ANSWER): WorkerState.DRAINING,
    (WorkerState.DRAINING, WorkerEvent.DRAIN): WorkerState.DRAINING,
    (WorkerState.DRAINING, WorkerEvent.RESUME): WorkerState.READY,
    (WorkerState.DRAINING, WorkerEvent.RECYCLE): WorkerState.RECYCLING,
    (WorkerState.DRAINING, WorkerEvent.LOSE): WorkerState.DOWN,
    (WorkerState.RECYCLING, WorkerEvent.REGISTER): WorkerState.STARTING,
    (WorkerState.RECYCLING, WorkerEvent.DRAIN): WorkerState.RECYCLING,
    (WorkerState.RECYCLING, WorkerEvent.RESUME): WorkerState.RECYCLING,
    (WorkerState.RECYCLING, WorkerEvent.RECYCLE): WorkerState.RECYCLING,
    (WorkerState.RECYCLING, WorkerEvent.LOSE): WorkerState.DOWN,
    (WorkerState.QUARANTINED, WorkerEvent.REGISTER): WorkerState.STARTING,
    (WorkerState.QUARANTINED, WorkerEvent.DRAIN): WorkerState.QUARANTINED,
    (WorkerState.QUARANTINED, WorkerEvent.RESUME): WorkerState.STARTING,
    (WorkerState.QUARANTINED, WorkerEvent.RECYCLE): WorkerState.STARTING,
    (WorkerState.QUARANTINED, WorkerEvent.LOSE): WorkerState.DOWN,
    (WorkerState.DOWN, WorkerEvent.REGISTER): WorkerState.STARTING,
    (WorkerState.DOWN, WorkerEvent.DRAIN): WorkerState.DOWN,
    (WorkerState.DOWN, WorkerEvent.RESUME): WorkerState.DOWN,
    (WorkerState.DOWN, WorkerEvent.LOSE): WorkerState.DOWN,
}


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What its agent says of a worker; a new inspection replaces it whole. Sizes in bytes."""

    id: str
    url: str  # empty while a supervised one has no ComfyUI
    pool: str
    agent: str
    kind: WorkerKind = WorkerKind.ATTACHED
    gpu: str | None = None  # the operator's name of the GPU kind; key of gpu_rates
    rate: float | None = None  # dollars an hour
    comfyui_version: str | None = None
    device: str | None = None
    vram_bytes: int | None = None
    ram_bytes: int | None = None
    catalog: str | None = None  # digest of its object_info, under which the store keeps it
    lock: str | None = None  # digest of the lock that it was compared with, and conforms to


@dataclass(frozen=True, slots=True)
class Residency:
    """Which model files a worker holds, and where; most recently used last. Sizes in bytes."""

    vram: tuple[ModelRef, ...] = ()
    ram: tuple[ModelRef, ...] = ()
    source: str = "inferred"  # or "measured"
    sizes: Mapping[ModelRef, int] = field(default_factory=dict[ModelRef, int])  # of the files, where known
    held: Mapping[ModelRef, int] = field(default_factory=dict[ModelRef, int])  # of each, in its tier, where measured
    why: str = ""  # it is not measured, or not all of it


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as it stands in the store."""

    info: WorkerInfo
    state: WorkerState
    epoch: int  # rises with every registration; an agent with an old one is superseded
    runs: tuple[str, ...] = ()  # run ids assigned to it, oldest first
    residency: Residency = field(default_factory=Residency)
    note: str | None = None  # why it is in this state, in words
    models: str | None = None  # digest of what its model files are, under which the store keeps it

    @property
    def busy(self) -> bool:
        """It is ready, and has runs."""
        return self.state is WorkerState.READY and bool(self.runs)


@dataclass(frozen=True, slots=True)
class WorkerChange:
    """What happened to a worker, as its operators are told. `at`: Unix seconds by the store's clock."""

    at: float
    state: WorkerState
    note: str | None
