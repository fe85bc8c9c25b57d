"""What the workers of each pool offer, together: what a submitted graph is checked against.

Read from the store at most every few seconds, so that a submission costs no look-up; whoever is about to refuse a
graph asks for a fresh one first. Workers that are down count: a job may wait for them to come back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import orjson

from orchestrator.domain.worker import Worker
from orchestrator.graph.catalog import Catalog, merge
from orchestrator.store.port import CatalogStore

STALE_S = 5.0
FRESH_S = 0.5  # a flood of bad graphs must not become a flood of reads


class Catalogs:
    def __init__(self, store: CatalogStore) -> None:
        self._store = store
        self._parsed: dict[str, Catalog] = {}  # by digest
        self._pools: dict[str, Catalog] = {}
        self._digests: dict[str, frozenset[str]] = {}  # that each pool's catalog is made of
        self._read_at = -STALE_S
        self._turn = asyncio.Lock()

    async def of(self, pool: str) -> Catalog | None:
        """What the pool offers, as it was at most STALE_S seconds ago; None: no worker of it was ever inspected."""
        if time.monotonic() - self._read_at >= STALE_S:
            await self._read(STALE_S)
        return self._pools.get(pool)

    async def fresh(self, pool: str) -> Catalog | None:
        """As `of`, at most FRESH_S seconds ago."""
        await self._read(FRESH_S)
        return self._pools.get(pool)

    async def _read(self, max_age_s: float) -> None:
        async with self._turn:
            if time.monotonic() - self._read_at < max_age_s:
                return  # somebody else read it while we waited
            wanted = _digests(await self._store.workers())
            for digest in frozenset().union(*wanted.values()) - self._parsed.keys():
                if (raw := await self._store.object_info(digest)) is not None:
                    self._parsed[digest] = await asyncio.to_thread(_parse, raw)
            self._rebuild({pool: digests & self._parsed.keys() for pool, digests in wanted.items()})
            self._read_at = time.monotonic()

    def _rebuild(self, wanted: dict[str, frozenset[str]]) -> None:
        wanted = {pool: digests for pool, digests in wanted.items() if digests}
        self._pools = {
            pool: self._pools[pool] if self._digests.get(pool) == digests else self._merged(digests)
            for pool, digests in wanted.items()
        }
        self._digests = wanted
        self._parsed = {digest: self._parsed[digest] for digest in frozenset().union(*wanted.values())}

    def _merged(self, digests: Iterable[str]) -> Catalog:
        return merge(self._parsed[digest] for digest in sorted(digests))


def _digests(workers: Iterable[Worker]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for worker in workers:
        if worker.info.catalog:
            found.setdefault(worker.info.pool, set()).add(worker.info.catalog)
    return {pool: frozenset(digests) for pool, digests in found.items()}


def _parse(raw: bytes) -> Catalog:
    return Catalog.parse(orjson.loads(raw))
