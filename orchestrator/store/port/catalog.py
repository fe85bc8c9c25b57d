"""Workflows, assets, and what the workers can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.domain.asset import Asset
from orchestrator.domain.worker import Worker, WorkerChange, WorkerEvent
from orchestrator.domain.workflow import Workflow
from orchestrator.store.port.runs import Mail
from orchestrator.store.port.values import Contents


class CatalogStore(Protocol):
    """Workflows, assets and what the workers can do."""

    async def register_workflow(self, workflow: Workflow) -> Workflow:
        """Equal content answers the version that has it; new content becomes the next version, and active.
        `workflow.version` is ignored."""
        ...

    async def activate(self, name: str, version: int) -> None: ...
    async def workflow(self, name: str, version: int | None = None) -> Workflow:
        """The given version, or the active one. NotFound otherwise."""
        ...

    async def workflows(self) -> Mapping[str, int]:
        """Name -> active version."""
        ...

    async def versions(self, name: str) -> Sequence[Workflow]: ...

    async def workers(self) -> Sequence[Worker]: ...
    async def worker(self, worker_id: str) -> Worker: ...
    async def move_worker(self, worker_id: str, event: WorkerEvent) -> Worker:
        """DRAIN, RESUME or RECYCLE, by an operator. Raises Conflict("worker_state") where its state has no such way."""
        ...

    async def worker_changes(self, worker_id: str) -> Sequence[WorkerChange]:
        """What it went through lately, newest first."""
        ...

    async def post(self, mail: Mail) -> None:
        """Leaves mail for the worker's agent."""
        ...

    async def object_info(self, catalog: str) -> bytes | None: ...
    async def models(self, digest: str) -> Contents:
        """What `Worker.models` is the digest of; nothing, where that is gone."""
        ...

    async def put_asset(self, asset: Asset) -> Asset:
        """Records it, or renews the retention of what has the same content already."""
        ...

    async def asset(self, asset_id: str) -> Asset: ...
    async def drop_asset(self, asset_id: str) -> Asset:
        """Moves it to deleting, whoever uses it; its blob is the caller's to delete. Raises NotFound."""
        ...

    async def lapsed_assets(self, retention_s: float, limit: int = 100) -> Sequence[Asset]:
        """Moves unreferenced assets past their retention to deleting; their blobs are the caller's to delete."""
        ...

    async def swept_asset(self, asset_id: str) -> None: ...
