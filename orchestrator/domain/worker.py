"""Worker: one ComfyUI process with one device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.domain.needs import ModelRef


class WorkerState(StrEnum):
    STARTING = "starting"  # registered; its ComfyUI does not answer yet
    READY = "ready"  # takes runs
    DRAINING = "draining"  # finishes what it has, takes nothing new
    DOWN = "down"  # its lease ran out, or its ComfyUI stopped answering


class WorkerEvent(StrEnum):
    REGISTER = "register"  # an agent took it over
    ANSWER = "answer"  # its ComfyUI answers and was inspected
    DRAIN = "drain"
    RESUME = "resume"
    LOSE = "lose"  # lease expired, agent stopped, or ComfyUI gone


# An operator's drain is kept beside the state, so that it outlives a crash: a drained worker that answers again is
# drained again (see store/lua/inspected.lua). That is why DRAIN and RESUME are legal in every state.
TRANSITIONS: Mapping[tuple[WorkerState, WorkerEvent], WorkerState] = {
    (WorkerState.STARTING, WorkerEvent.REGISTER): WorkerState.STARTING,
    (WorkerState.STARTING, WorkerEvent.ANSWER): WorkerState.READY,
    (WorkerState.STARTING, WorkerEvent.DRAIN): WorkerState.STARTING,
    (WorkerState.STARTING, WorkerEvent.RESUME): WorkerState.STARTING,
    (WorkerState.STARTING, WorkerEvent.LOSE): WorkerState.DOWN,
    (WorkerState.READY, WorkerEvent.REGISTER): WorkerState.STARTING,
    (WorkerState.READY, WorkerEvent.ANSWER): WorkerState.READY,
    (WorkerState.READY, WorkerEvent.DRAIN): WorkerState.DRAINING,
    (WorkerState.READY, WorkerEvent.RESUME): WorkerState.READY,
    (WorkerState.READY, WorkerEvent.LOSE): WorkerState.DOWN,
    (WorkerState.DRAINING, WorkerEvent.REGISTER): WorkerState.STARTING,
    (WorkerState.DRAINING, WorkerEvent.ANSWER): WorkerState.DRAINING,
    (WorkerState.DRAINING, WorkerEvent.DRAIN): WorkerState.DRAINING,
    (WorkerState.DRAINING, WorkerEvent.RESUME): WorkerState.READY,
    (WorkerState.DRAINING, WorkerEvent.LOSE): WorkerState.DOWN,
    (WorkerState.DOWN, WorkerEvent.REGISTER): WorkerState.STARTING,
    (WorkerState.DOWN, WorkerEvent.DRAIN): WorkerState.DOWN,
    (WorkerState.DOWN, WorkerEvent.RESUME): WorkerState.DOWN,
    (WorkerState.DOWN, WorkerEvent.LOSE): WorkerState.DOWN,
}


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What its agent says of a worker; a new inspection replaces it whole. Sizes in bytes."""

    id: str
    url: str
    pool: str
    agent: str
    kind: str = "attached"
    gpu: str | None = None  # the operator's name of the GPU kind; key of gpu_rates
    rate: float | None = None  # dollars an hour
    comfyui_version: str | None = None
    device: str | None = None
    vram_bytes: int | None = None
    ram_bytes: int | None = None
    catalog: str | None = None  # digest of its object_info, under which the store keeps it


@dataclass(frozen=True, slots=True)
class Residency:
    """Which model files a worker holds, and where; most recently used last."""

    vram: tuple[ModelRef, ...] = ()
    ram: tuple[ModelRef, ...] = ()
    source: str = "inferred"  # or "measured"
    sizes: Mapping[ModelRef, int] = field(default_factory=dict[ModelRef, int])  # bytes, where known


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as it stands in the store."""

    info: WorkerInfo
    state: WorkerState
    epoch: int  # rises with every registration; an agent with an old one is superseded
    lease_until: float  # Unix seconds by the store's clock
    runs: tuple[str, ...] = ()  # run ids assigned to it, oldest first
    residency: Residency = field(default_factory=Residency)
    note: str | None = None  # why it is in this state, in words
