"""Driver: the task that owns one worker. Nothing else talks to its ComfyUI.

It holds one tenure after another: when its ComfyUI is gone it waits until it answers again, when somebody else has the
worker it waits until they may have left it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic

from orchestrator.comfy.client import ComfyClient
from orchestrator.delivery.storage import Storage
from orchestrator.domain.worker import WorkerInfo
from orchestrator.errors import WorkerFault
from orchestrator.settings import LeaseSettings
from orchestrator.store.port import Mail
from orchestrator.worker.bench import AgentStore, End
from orchestrator.worker.patience import passed
from orchestrator.worker.tenure import Tenure

log = logging.getLogger(__name__)

PROBE_S = 1.0


class Driver:
    """Of the worker that `info` names; what it says of the ComfyUI there is found out anew."""

    def __init__(self, info: WorkerInfo, store: AgentStore, storage: Storage, leases: LeaseSettings) -> None:
        self._info = info
        self._store = store
        self._storage = storage
        self._leases = leases
        self._tenure: Tenure | None = None
        self._draining = asyncio.Event()

    async def run(self) -> None:
        """Until drained."""
        async with ComfyClient(self._info.url) as client:
            while not self._draining.is_set():
                tenure = self._tenure = Tenure(self._info, client, self._store, self._storage, self._leases)
                ending = await tenure.serve()
                self._tenure = None
                if ending.why is End.GONE:
                    log.warning("%s: waiting for its ComfyUI: %s", self._info.id, ending.note)
                    await self._answer(client)
                elif ending.why is End.SUPERSEDED and monotonic() - tenure.beaten_at < self._leases.worker_s:
                    # Our lease had not run out, so somebody else registered the same worker.
                    log.error("%s is driven by another agent as well: remove it from one of them", self._info.id)
                    await passed(self._draining, self._leases.worker_s)

    def deliver(self, mail: Mail) -> None:
        """Mail for this worker."""
        if self._tenure is not None:
            self._tenure.deliver(mail)

    def drain(self) -> None:
        """Has `run` end when what executes is done; what waits is given back."""
        self._draining.set()
        if self._tenure is not None:
            self._tenure.drain()

    async def _answer(self, client: ComfyClient) -> None:
        """Returns when ComfyUI answers, or there is no need to wait any more."""
        while not self._draining.is_set():
            await passed(self._draining, PROBE_S)
            with suppress(WorkerFault):
                await client.queue()
                return
