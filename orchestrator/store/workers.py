"""Reading workers, which the dispatcher and the controller both do."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.worker import Worker
from orchestrator.store import codec
from orchestrator.store.database import Database


async def read_workers(database: Database, worker_ids: Sequence[str] | None = None) -> list[Worker]:
    """Those that are known, in order of their ids; all when none are named."""
    (known,) = await database.fetch(("ZRANGE", database.keys.single("workers"), 0, -1))
    ids = {worker_id.decode() for worker_id in known}
    wanted = sorted(ids if worker_ids is None else ids.intersection(worker_ids))
    keys = database.keys
    hashes = await database.fetch(*(("HMGET", keys.worker(worker_id), *codec.WORKER_FIELDS) for worker_id in wanted))
    runs = await database.fetch(*(("ZRANGE", keys.worker_runs(worker_id), 0, -1) for worker_id in wanted))
    return [codec.worker(fields, has) for fields, has in zip(hashes, runs, strict=True) if fields[0]]
