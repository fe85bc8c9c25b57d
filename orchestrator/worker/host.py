"""Host: where one worker's ComfyUI runs, as its driver knows it, which knows nothing of processes.

An attached ComfyUI is somebody else's: one that is gone is waited for, and one that hung, or whose device broke, has
to show that it works again before it is given runs. A supervised one is replaced (see supervisor/).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from orchestrator.comfy.client import ComfyClient
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import WorkerEvent, WorkerInfo
from orchestrator.errors import WorkerFault
from orchestrator.graph.catalog import Catalog
from orchestrator.pins.pinned import Pinned
from orchestrator.pins.supply import Supply
from orchestrator.store.port import Graph
from orchestrator.worker.context import End
from orchestrator.worker.drift import conforming, lock_of_running
from orchestrator.worker.warmup import warm_up

log = logging.getLogger(__name__)

PROBE_S = 1.0
PROOF_S = 30.0  # for a graph that takes milliseconds

# The smallest graph that computes on the device: with it the thread that executes has shown that it lives, too.
PROOF: Graph = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "blur_radius": 1, "sigma": 1.0}},
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
}


class Tenant(Protocol):
    """Whoever uses the ComfyUI. `ready`: it is offered runs. `busy_since`: when the oldest of those that it has there
    came (monotonic)."""

    @property
    def ready(self) -> bool: ...
    @property
    def busy_since(self) -> float | None: ...
    def end(self, why: End, note: str) -> None:
        """It must be let go at once."""
        ...

    def retire(self, note: str) -> None:
        """It is to be let go as soon as what executes is done. May be said again and again."""
        ...

    async def abandon(self, note: str) -> None:
        """It is not the ComfyUI of before: what that one had is lost."""
        ...

    async def tell(self, event: WorkerEvent | None, note: str) -> None:
        """Operators are to know."""
        ...


class Host(Protocol):
    """`info` and `locked` are those of the ComfyUI that `start` answered last."""

    @property
    def info(self) -> WorkerInfo: ...
    @property
    def locked(self) -> Mapping[str, str]:
        """FOLDER/NAME -> SHA-256 of the models that its lock names."""
        ...

    @property
    def supply(self) -> Supply | None:
        """What fetches models that its lock names, if that can be."""
        ...

    def model_file(self, model: ModelRef) -> Path | None:
        """Where its ComfyUI reads a model from, if that is on this machine and known. Looks at the disk."""
        ...

    async def start(self, tenant: Tenant) -> str:
        """The URL of a ComfyUI that is to be used, however long it takes until there is one."""
        ...

    async def accept(self, client: ComfyClient, catalog: Catalog) -> None:
        """Raises WorkerFault("comfyui_unfit") unless it can do its work."""
        ...

    async def watch(self, tenant: Tenant) -> None:
        """For as long as it is used."""
        ...

    def over(self, run_id: str) -> None:
        """The run has been executed there, and collected."""
        ...

    def complain(self, note: str) -> None:
        """It works, and would better be replaced."""
        ...

    def resume(self) -> None:
        """An operator wants it tried again."""
        ...

    def release(self, why: End, note: str) -> None:
        """It is let go; what it executes is about to be given up."""
        ...

    async def recover(self, why: End) -> None:
        """Nothing uses it any more: returns when it makes sense to ask for one again."""
        ...

    async def close(self) -> None:
        """It is needed no more."""
        ...


class AttachedHost:
    """We were given its URL, and perhaps what it has to be made of."""

    def __init__(self, info: WorkerInfo, pinned: Pinned | None = None) -> None:
        self.info = info
        self.locked: Mapping[str, str] = {}
        self.supply: Supply | None = None  # its disk is somebody else's, too
        self._pinned = pinned
        self._resumed = asyncio.Event()
        self._doubted = ""  # why it has to show that it works

    def model_file(self, model: ModelRef) -> Path | None:
        return None

    async def start(self, tenant: Tenant) -> str:
        if self._pinned is not None:
            await self._compare(self._pinned, tenant)
        return self.info.url

    async def _compare(self, pinned: Pinned, tenant: Tenant) -> None:
        before = self.info.lock
        async with ComfyClient(self.info.url) as client:
            lock = await conforming(lambda: lock_of_running(pinned, client, tenant.tell), tenant.tell, self._resumed)
        if before not in (None, lock.digest):
            await tenant.abandon("its lock was written anew")
        self.info, self.locked = replace(self.info, lock=lock.digest), lock.sha256_of_models

    async def accept(self, client: ComfyClient, catalog: Catalog) -> None:
        if not self._doubted:
            return
        try:
            await warm_up(client, _proof(catalog), PROOF_S)
        except WorkerFault as fault:
            note = f"{self._doubted}; and it does not execute a small graph: restart its ComfyUI ({fault.message})"
            raise WorkerFault("comfyui_unfit", note) from fault
        self._doubted = ""

    async def watch(self, tenant: Tenant) -> None:
        return

    def over(self, run_id: str) -> None:
        return

    def complain(self, note: str) -> None:
        log.warning("%s: %s: its ComfyUI should be restarted, which comfyfleet cannot do", self.info.id, note)

    def resume(self) -> None:
        self._resumed.set()

    def release(self, why: End, note: str) -> None:
        if why is End.SICK:
            self._doubted = note
        if why in (End.GONE, End.SICK):
            log.warning("%s: waiting for its ComfyUI: %s", self.info.id, note)

    async def recover(self, why: End) -> None:
        if why not in (End.GONE, End.SICK):
            return
        async with ComfyClient(self.info.url) as client:
            while True:
                await asyncio.sleep(PROBE_S)
                with suppress(WorkerFault):
                    await client.queue()
                    return

    async def close(self) -> None:
        return


def _proof(catalog: Catalog) -> Graph:
    if "ImageBlur" in catalog.classes:
        return PROOF
    return {"1": PROOF["1"], "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
