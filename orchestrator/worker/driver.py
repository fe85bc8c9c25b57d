"""Driver: the task that owns one worker. Nothing else talks to its ComfyUI.

It holds one tenure after another: when its ComfyUI is gone its host sees to another one or waits for that one, when
somebody else has the worker it waits until they may have left it.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from orchestrator.delivery.storage import Storage
from orchestrator.settings import LeaseSettings, WatchdogSettings
from orchestrator.store.port import Mail
from orchestrator.worker.backoff import passed
from orchestrator.worker.context import AgentStore, End
from orchestrator.worker.host import Host
from orchestrator.worker.tenure import Tenure

log = logging.getLogger(__name__)


class Driver:
    """Of the worker of that host."""

    def __init__(
        self, host: Host, store: AgentStore, storage: Storage, leases: LeaseSettings, watchdog: WatchdogSettings
    ) -> None:
        self._host = host
        self._store = store
        self._storage = storage
        self._leases = leases
        self._watchdog = watchdog
        self._tenure: Tenure | None = None
        self._draining = asyncio.Event()
        self._anew = False  # there was a tenure before, and its ComfyUI may be another by now

    async def run(self) -> None:
        """Until drained."""
        while not self._draining.is_set():
            tenure = self._tenure = Tenure(self._host, self._store, self._storage, self._leases, self._watchdog)
            ending = await tenure.serve(self._anew)
            self._anew = True
            self._tenure = None
            await self._recover(ending.why)
            if ending.why is End.SUPERSEDED and monotonic() - tenure.beaten_at < self._leases.worker_s:
                # Our lease had not run out, so somebody else registered the same worker.
                log.error("%s is driven by another agent as well: remove it from one of them", self._host.info.id)
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

    async def _recover(self, why: End) -> None:
        """Returns when there is a ComfyUI to be asked for, or no need for one any more."""
        recovering = asyncio.create_task(self._host.recover(why))
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait((recovering, draining), return_when=asyncio.FIRST_COMPLETED)
            if recovering.done():
                recovering.result()
        finally:
            for task in (recovering, draining):
                task.cancel()
            await asyncio.wait((recovering, draining))
