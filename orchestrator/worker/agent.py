"""Agent: holds the drivers of one node, hands them their mail, and starts again the one that crashes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from orchestrator.delivery.storage import Storage
from orchestrator.errors import Busy
from orchestrator.settings import LeaseSettings, WatchdogSettings
from orchestrator.telemetry.ids import about
from orchestrator.worker.context import AgentStore
from orchestrator.worker.driver import Driver
from orchestrator.worker.host import Host

log = logging.getLogger(__name__)

RESTART_S = 1.0


class Agent:
    """`name` is unique in the fleet: mail is addressed to it."""

    def __init__(
        self,
        name: str,
        store: AgentStore,
        storage: Storage,
        hosts: Sequence[Host],
        leases: LeaseSettings,
        watchdog: WatchdogSettings,
    ) -> None:
        self._name = name
        self._store = store
        self._storage = storage
        self._hosts = hosts
        self._leases = leases
        self._watchdog = watchdog
        self._drivers: dict[str, Driver] = {}
        self._draining = False
        self._ended = asyncio.Event()
        self._ended.set()

    async def run(self) -> None:
        """Until drained. When cancelled it just stops: its runs are found again by the next agent of these workers,
        or requeued when their leases run out."""
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as group:
                postman = group.create_task(self._hand_out_mail())
                async with asyncio.TaskGroup() as drivers:
                    for host in self._hosts:
                        drivers.create_task(self._keep(host))
                postman.cancel()
        finally:
            self._ended.set()

    async def drain(self) -> None:
        """Finishes what executes, gives back what waits, and has `run` end; returns when it has."""
        self._draining = True
        for driver in self._drivers.values():
            driver.drain()
        await self._ended.wait()

    async def _keep(self, host: Host) -> None:
        """Drives a worker. A bug must neither take the other workers along nor lose this one."""
        while not self._draining:
            driver = Driver(host, self._store, self._storage, self._leases, self._watchdog)
            self._drivers[host.info.id] = driver
            try:
                with about(worker=host.info.id):
                    await driver.run()
            except Exception:
                log.exception("the driver of %s crashed; it starts again in %g s", host.info.id, RESTART_S)
                await asyncio.sleep(RESTART_S)
        await host.close()

    async def _hand_out_mail(self) -> None:
        while True:
            try:
                async for mail in self._store.mail(self._name):
                    driver = self._drivers.get(mail.worker)
                    if driver is not None:
                        driver.deliver(mail)
            except Busy as busy:
                log.warning("no mail: %s", busy.message)
                await asyncio.sleep(busy.retry_after)
