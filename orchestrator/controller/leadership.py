"""Leadership: of all controllers one dispatches and reaps, for as long as it renews its lease in the store.

Two that both believe to lead for a moment do no harm, as the store checks every step again; they only waste some.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from orchestrator.errors import Busy
from orchestrator.settings import LeaseSettings
from orchestrator.store.port import DispatchStore

log = logging.getLogger(__name__)

RENEWALS = 3  # in the life of a lease: two may fail before it is lost


class Leadership:
    """`run` holds the lease whenever it can be had; `while_leading` does work under it."""

    def __init__(self, store: DispatchStore, controller: str, leases: LeaseSettings) -> None:
        self._store = store
        self._controller = controller
        self._lease_s = leases.leader_s
        self._gained = asyncio.Event()
        self._lost = asyncio.Event()
        self._lost.set()

    @property
    def leading(self) -> bool:
        return self._gained.is_set()

    async def run(self) -> None:
        """Until cancelled; then another controller may lead at once."""
        loop = asyncio.get_running_loop()
        good_until = loop.time()
        try:
            while True:
                asked_at = loop.time()
                try:
                    async with asyncio.timeout(self._lease_s / RENEWALS):
                        held = await self._store.lead(self._controller)
                    good_until = asked_at + self._lease_s if held else asked_at
                except (Busy, TimeoutError) as error:
                    log.warning("the leader lease could not be renewed: %s", error or "the store took too long")
                self._set(loop.time() < good_until)
                await asyncio.sleep(self._lease_s / RENEWALS)
        finally:
            await self._resign()

    async def while_leading(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does the work whenever this controller leads: cancelled when it no longer does, begun anew when it does
        again, until cancelled. What the work raises is raised."""
        while True:
            await self._gained.wait()
            working = asyncio.ensure_future(work())
            lost = asyncio.ensure_future(self._lost.wait())
            try:
                await asyncio.wait((working, lost), return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    working.result()
            finally:
                working.cancel()
                lost.cancel()
                await asyncio.gather(working, lost, return_exceptions=True)

    def _set(self, leading: bool) -> None:
        if leading == self.leading:
            return
        log.info("%s %s", self._controller, "leads" if leading else "leads no more")
        if leading:
            self._lost.clear()
            self._gained.set()
        else:
            self._gained.clear()
            self._lost.set()

    async def _resign(self) -> None:
        was_leading = self.leading
        self._set(False)
        if not was_leading:
            return
        try:
            async with asyncio.timeout(self._lease_s / RENEWALS):
                await self._store.resign(self._controller)
        except (Busy, TimeoutError) as error:
            log.warning("could not resign, the lease runs out by itself: %s", error or "the store took too long")
