"""WorkerContext: what the runs of one worker share, for as long as its ComfyUI is the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from orchestrator.comfy.client import ComfyClient
from orchestrator.domain.asset import Asset
from orchestrator.domain.worker import Residency, WorkerInfo
from orchestrator.errors import WorkerFault
from orchestrator.graph.catalog import Catalog
from orchestrator.store.port import RunStore
from orchestrator.worker.collector import Collector
from orchestrator.worker.digests import ModelDigests
from orchestrator.worker.outcome import Done, Lost, Outcome
from orchestrator.worker.residency import WorkerMemory
from orchestrator.worker.staging import Stager
from orchestrator.worker.unload import empty
from orchestrator.worker.watchdog import Budgets

log = logging.getLogger(__name__)

OUT_OF_MEMORY_MAX = 3  # runs in a row, each with nothing else in memory, after which a fresh process is tried


class AgentStore(RunStore, Protocol):
    """What an agent asks of the store."""

    async def asset(self, asset_id: str) -> Asset: ...


class End(StrEnum):
    """Why a worker is not ours any more, or not the same."""

    GONE = "gone"  # its ComfyUI does not answer
    SICK = "sick"  # its ComfyUI answers, and is of no use: it hangs, or its device is broken
    WORN = "worn"  # its ComfyUI works, and is to be replaced; what it executed is done
    CHANGED = "changed"  # its ComfyUI may be another one
    SUPERSEDED = "superseded"  # the store gave the worker up, or to another agent
    DRAINED = "drained"


@dataclass(slots=True)
class WorkerContext:
    """`client_id` is that of the open websocket, if there is one. `doubted` is set when ComfyUI should be looked at,
    `finished` holds the runs that its history need not keep, `told` is what the store knows of `residency`, `end` is
    told why all this is over, in words, and `complain` why its ComfyUI would better be replaced."""

    info: WorkerInfo
    store: AgentStore
    client: ComfyClient
    stager: Stager
    collector: Collector
    catalog: Catalog
    residency: WorkerMemory
    digests: ModelDigests
    doubted: asyncio.Event
    end: Callable[[End, str], None]
    complain: Callable[[str], None]
    budgets: Budgets
    posting: asyncio.Lock = field(default_factory=asyncio.Lock)  # held by whoever posts, or needs that nobody does
    client_id: str | None = None
    finished: list[str] = field(default_factory=list[str])
    out_of_memory: int = 0  # runs in a row
    told: Residency | None = None
    executed_at: float | None = None  # when its ComfyUI last said that a run was over, by the monotonic clock

    def doubt(self) -> None:
        """ComfyUI did not do its part: look at it right away."""
        self.doubted.set()

    def learn(self, outcome: Outcome) -> None:
        """What the end of a run says of its worker. What a node said stays with its job: it may quote a prompt."""
        match outcome:
            case Lost(error=error) if error.code == "device_fault":
                where = error.class_type or "a node"
                self.end(End.SICK, f"the device of the worker failed in {where}: its ComfyUI has to be restarted")
            case Lost(error=error) if error.code == "out_of_memory":
                self.out_of_memory += 1
                if self.out_of_memory == OUT_OF_MEMORY_MAX:
                    where = error.class_type or "a node"
                    self.complain(f"{OUT_OF_MEMORY_MAX} runs in a row were out of memory, the last of them in {where}")
            case Done():
                self.out_of_memory = 0
            case _:
                pass

    async def erase_finished(self) -> None:
        """Takes what is over out of ComfyUI's history, in one request."""
        done = self.finished[:]
        if done:
            await self.client.delete_history(done)
            del self.finished[: len(done)]

    async def empty(self) -> None:
        """Has nothing be in the worker's memory. Whoever calls this holds `posting`."""
        await empty(self.client, self.doubt)
        self.residency.clear()

    async def free(self) -> None:
        """The same, on its own."""
        try:
            async with self.posting:
                await self.empty()
        except WorkerFault as fault:
            log.warning("%s: its models could not be unloaded: %s", self.info.id, fault.message)
