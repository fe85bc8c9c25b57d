"""Workflows, assets and what the workers offer, in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.asset import Asset
from orchestrator.domain.worker import Worker, WorkerChange, WorkerEvent
from orchestrator.domain.workflow import Workflow
from orchestrator.errors import Busy, Conflict, NotFound
from orchestrator.store import codec
from orchestrator.store.database import Database
from orchestrator.store.port import Contents, Mail
from orchestrator.store.workers import read_workers

# By what an operator can do, the note that says so.
_OPERATED: Mapping[WorkerEvent, str] = {
    WorkerEvent.DRAIN: "drained by an operator",
    WorkerEvent.RESUME: "",
    WorkerEvent.RECYCLE: "recycled by an operator",
}


class RedisCatalog:
    """Implements CatalogStore."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._keys = database.keys

    async def register_workflow(self, workflow: Workflow) -> Workflow:
        version = await self._db.script(
            "register_workflow", workflow.name, workflow.digest, codec.dump_workflow(workflow)
        )
        return await self.workflow(workflow.name, int(version))

    async def activate(self, name: str, version: int) -> None:
        if await self._db.script("activate", name, version) == 0:
            raise NotFound("workflow_not_found", f"workflow {name} has no version {version}: see its versions")

    async def workflow(self, name: str, version: int | None = None) -> Workflow:
        if version is None:
            (active,) = await self._db.fetch(("HGET", self._keys.single("workflows"), name))
            if active is None:
                raise NotFound(
                    "workflow_not_found", f"there is no workflow {name!r}: register it, or see GET /v1/workflows"
                )
            version = int(active)
        (raw,) = await self._db.fetch(("HGET", self._keys.workflow(name), version))
        if raw is None:
            raise NotFound("workflow_not_found", f"workflow {name!r} has no version {version}: see its versions")
        return codec.workflow(raw, version)

    async def workflows(self) -> Mapping[str, int]:
        (active,) = await self._db.fetch(("HGETALL", self._keys.single("workflows")))
        return {name.decode(): int(version) for name, version in sorted(codec.pairs(active).items())}

    async def versions(self, name: str) -> Sequence[Workflow]:
        (raws,) = await self._db.fetch(("HGETALL", self._keys.workflow(name)))
        found = [codec.workflow(raw, int(version)) for version, raw in codec.pairs(raws).items()]
        if not found:
            raise NotFound(
                "workflow_not_found", f"there is no workflow {name!r}: register it, or see GET /v1/workflows"
            )
        return sorted(found, key=lambda workflow: workflow.version)

    async def workers(self) -> Sequence[Worker]:
        return await read_workers(self._db)

    async def worker(self, worker_id: str) -> Worker:
        found = await read_workers(self._db, [worker_id])
        if not found:
            raise NotFound("worker_not_found", f"there is no worker {worker_id!r}: see GET /v1/workers")
        return found[0]

    async def move_worker(self, worker_id: str, event: WorkerEvent) -> Worker:
        note = _OPERATED[event]
        reply = await self._db.script("operate_worker", worker_id, event.value, note)
        if reply[0] == b"refused":
            state = reply[1].decode()
            raise Conflict("worker_state", f"worker {worker_id} is {state}: there is nothing to {event}", state=state)
        return await self.worker(worker_id)

    async def worker_changes(self, worker_id: str) -> Sequence[WorkerChange]:
        (entries,) = await self._db.fetch(("XREVRANGE", self._keys.worker_events(worker_id), "+", "-"))
        return [codec.worker_change(entry_id, fields) for entry_id, fields in entries]

    async def post(self, mail: Mail) -> None:
        await self._db.script("post", mail.worker, mail.kind.value, codec.dump_files(mail.files))

    async def models(self, digest: str) -> Contents:
        (raw,) = await self._db.fetch(("GET", self._keys.models(digest)))
        return codec.contents(raw)

    async def object_info(self, catalog: str) -> bytes | None:
        (raw,) = await self._db.fetch(("GET", self._keys.catalog(catalog)))
        return raw

    async def put_asset(self, asset: Asset) -> Asset:
        outcome, *rest = await self._db.script("put_asset", asset.id, codec.dump(asset))
        if outcome == b"deleting":
            raise Busy("asset_deleting", "an old asset with the same content is being deleted: upload it again", 1.0)
        return codec.ASSET.validate_json(rest[0])

    async def asset(self, asset_id: str) -> Asset:
        raw = await self._db.script("use_asset", asset_id)
        return _found_asset(raw, asset_id)

    async def drop_asset(self, asset_id: str) -> Asset:
        return _found_asset(await self._db.script("drop_asset", asset_id), asset_id)

    async def lapsed_assets(self, retention_s: float, limit: int = 100) -> Sequence[Asset]:
        raws = await self._db.script("lapse_assets", int(retention_s * 1000), limit)
        return [codec.ASSET.validate_json(raw) for raw in raws]

    async def swept_asset(self, asset_id: str) -> None:
        await self._db.script("swept_asset", asset_id)


def _found_asset(raw: bytes | None, asset_id: str) -> Asset:
    if raw is None:
        raise NotFound("asset_not_found", f"there is no asset {asset_id!r}: upload it with POST /v1/assets")
    return codec.ASSET.validate_json(raw)
