"""Reaper: ends what nobody else will, while this controller leads: leases and deadlines that ran out, and what is kept
past its retention. Files go first and their record last, so that nothing is ever left without an owner."""

from __future__ import annotations

import asyncio
import logging

from orchestrator.controller.leadership import Leadership
from orchestrator.delivery.keys import asset_key, job_prefix
from orchestrator.delivery.storage import Storage
from orchestrator.errors import Busy
from orchestrator.settings import LeaseSettings, RetentionSettings
from orchestrator.store.port import Store

log = logging.getLogger(__name__)


class Reaper:
    """One sweep after the other until cancelled. A store or storage that cannot be reached makes it wait, not end."""

    def __init__(
        self,
        store: Store,
        storage: Storage,
        leadership: Leadership,
        leases: LeaseSettings,
        retention: RetentionSettings,
    ) -> None:
        self._store = store
        self._storage = storage
        self._leadership = leadership
        self._sweep_s = leases.sweep_s
        self._retention = retention

    async def run(self) -> None:
        await self._leadership.while_leading(self._sweeps)

    async def _sweeps(self) -> None:
        while True:
            try:
                for done in await self._store.reap():
                    log.info("%s", done)
                await self._lapsed_jobs()
                await self._lapsed_assets()
            except Busy as error:
                log.warning("this sweep is not complete, the next one goes on: %s", error.message)
            await asyncio.sleep(self._sweep_s)

    async def _lapsed_jobs(self) -> None:
        for job_id in await self._store.lapsed_jobs(self._retention.jobs_s):
            await self._storage.delete_prefix(job_prefix(job_id))
            await self._store.forget(job_id)

    async def _lapsed_assets(self) -> None:
        for asset in await self._store.lapsed_assets(self._retention.assets_s):
            await self._storage.delete(asset_key(asset.hash))
            await self._store.swept_asset(asset.id)
