"""The ledger in Redis: hours of entries, and what they come to since the fleet began."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from orchestrator.domain.ledger import Entry, Kind
from orchestrator.domain.sample import Sample
from orchestrator.store import codec
from orchestrator.store.database import Database

HOUR_S = 3600
HOURS_AT_ONCE = 8  # there may be thousands of entries in each
SAMPLES = 200  # of each version of a workflow


class RedisCosts:
    """Implements CostStore."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._keys = database.keys

    async def ledger(self, since: float, until: float) -> AsyncIterator[Sequence[Entry]]:
        hours = range(int(since // HOUR_S), -(-int(until) // HOUR_S))
        for first in range(0, len(hours), HOURS_AT_ONCE):
            some = hours[first : first + HOURS_AT_ONCE]
            for row in await self._db.fetch(*(("HGETALL", self._keys.ledger(str(hour))) for hour in some)):
                yield [_entry(field, ms) for field, ms in codec.pairs(row).items()]
                await asyncio.sleep(0)  # months take seconds: whoever else works here has a turn meanwhile

    async def samples(self, workflow: str, version: int) -> Sequence[Sample]:
        (rows,) = await self._db.fetch(("LRANGE", self._keys.profile(f"{workflow}@{version}"), 0, SAMPLES - 1))
        return [_sample(row) for row in rows]

    async def spent(self) -> Sequence[Entry]:
        (row,) = await self._db.fetch(("HGETALL", self._keys.ledger("total")))
        return [_total(field, ms) for field, ms in codec.pairs(row).items()]


def _entry(field: bytes, ms: bytes) -> Entry:
    workflow, version, tenant, pool, gpu, rate, worker, kind = orjson.loads(field)
    return Entry(workflow, version, tenant, pool, gpu, _rate(rate), worker, Kind(kind), int(ms) / 1000)


def _total(field: bytes, ms: bytes) -> Entry:
    workflow, pool, gpu, rate, kind = orjson.loads(field)
    return Entry(workflow, "", "", pool, gpu, _rate(rate), "", Kind(kind), int(ms) / 1000)


def _sample(raw: bytes) -> Sample:
    document = orjson.loads(raw)
    return Sample(document["execute_s"], document["load_s"], document["gpu"], document["nodes"])


def _rate(raw: Any) -> float | None:
    return float(raw) if raw else None
