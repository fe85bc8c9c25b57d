"""Those who post to ComfyUI's own API, in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.job import Origin
from orchestrator.store import codec
from orchestrator.store.database import Database
from orchestrator.store.port.clients import Posted, comfy_topic, owners


class RedisClients:
    """Implements ClientStore."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._keys = database.keys

    async def posted(self, job_ids: Sequence[str]) -> Sequence[Posted | None]:
        rows = await self._db.fetch(
            *(("HMGET", self._keys.job(job_id), "posted", "extra_data", "runs") for job_id in job_ids)
        )
        last = [runs.split()[-1].decode() if runs else "" for _, _, runs in rows]
        histories = await self._db.fetch(*(("HGET", self._keys.run(run_id), "history") for run_id in last))
        return [
            codec.posted(raw, extra_data, history)
            for (raw, extra_data, _), history in zip(rows, histories, strict=True)
        ]

    async def active(self, owner: str) -> int:
        (count,) = await self._db.fetch(("ZCARD", self._keys.active(owner)))
        return count

    async def owns(self, owner: str, job_id: str) -> bool:
        (score,) = await self._db.fetch(("ZSCORE", self._keys.jobs(owner=owner), job_id))
        return score is not None

    async def disown(self, job_id: str, origin: Origin) -> None:
        await self._db.fetch(*(("ZREM", self._keys.jobs(owner=owner), job_id) for owner in owners(origin)))

    async def undelivered(self, client_id: str) -> Mapping[str, str]:
        (cursors,) = await self._db.fetch(("HGETALL", self._keys.client(client_id)))
        return {job_id.decode(): cursor.decode() for job_id, cursor in codec.pairs(cursors).items()}

    async def delivered(self, client_id: str, job_id: str, event_id: str | None) -> None:
        key = self._keys.client(client_id)
        if event_id is None:
            await self._db.fetch(("HDEL", key, job_id), ("DEL", self._keys.events(comfy_topic(job_id))))
        else:
            await self._db.fetch(("HSET", key, job_id, event_id))

    async def name_input(self, path: str, asset_id: str, *, replace: bool) -> str:
        key = self._keys.single("inputs")
        _, named = await self._db.fetch(("HSET" if replace else "HSETNX", key, path, asset_id), ("HGET", key, path))
        return named.decode()

    async def inputs_named(self, paths: Sequence[str]) -> Sequence[str | None]:
        if not paths:
            return []
        (found,) = await self._db.fetch(("HMGET", self._keys.single("inputs"), *paths))
        return [codec.text(asset_id) for asset_id in found]

    async def input_names(self) -> Sequence[str]:
        (paths,) = await self._db.fetch(("HKEYS", self._keys.single("inputs")))
        return [path.decode() for path in paths]
