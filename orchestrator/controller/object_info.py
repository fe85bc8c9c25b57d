"""What all workers of a pool offer, as one /object_info: merged when something changed, kept as bytes until then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from orchestrator.controller.inputs import Inputs
from orchestrator.domain.worker import Worker, WorkerState
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.merged import merged
from orchestrator.store.port import CatalogStore

FRESH_S = 1.0
_THERE = (WorkerState.READY, WorkerState.DRAINING, WorkerState.RECYCLING)


class ObjectInfo:
    def __init__(self, store: CatalogStore, inputs: Inputs, pool: str) -> None:
        self._store = store
        self._inputs = inputs
        self._pool = pool
        self._raw: dict[str, bytes] = {}  # by digest
        self._made_of: object = None
        self._made: Mapping[str, Any] = {}
        self._bytes = b"{}"
        self._read_at = -FRESH_S
        self._turn = asyncio.Lock()

    async def document(self) -> Mapping[str, Any]:
        await self._refresh()
        return self._made

    async def as_bytes(self) -> bytes:
        await self._refresh()
        return self._bytes

    async def models(self) -> Mapping[str, Sequence[str]]:
        """Folder -> names of the model files that some worker has."""
        catalog = Catalog.parse(await self.document())
        found: dict[str, list[str]] = {folder: [] for folder in catalog.folders}
        for model in sorted(catalog.models):
            found.setdefault(model.folder, []).append(model.name)
        return found

    async def _refresh(self) -> None:
        async with self._turn:
            if time.monotonic() - self._read_at < FRESH_S:
                return
            workers = [worker for worker in await self._store.workers() if worker.info.pool == self._pool]
            there = [worker for worker in workers if worker.state in _THERE] or workers
            made_of = ({w.info.id: w.info.catalog for w in there}, await self._inputs.names("input"))
            if made_of != self._made_of:
                await self._make(there, made_of[1])
                self._made_of = made_of
            self._read_at = time.monotonic()

    async def _make(self, workers: Sequence[Worker], uploaded: Sequence[str]) -> None:
        digests = {worker.info.id: worker.info.catalog for worker in workers if worker.info.catalog}
        for digest in set(digests.values()) - self._raw.keys():
            if (raw := await self._store.object_info(digest)) is not None:
                self._raw[digest] = raw
        self._raw = {digest: raw for digest, raw in self._raw.items() if digest in digests.values()}
        said = {worker: self._raw[digest] for worker, digest in digests.items() if digest in self._raw}
        self._made, self._bytes = await asyncio.to_thread(_merge, said, uploaded)


def _merge(said: Mapping[str, bytes], uploaded: Sequence[str]) -> tuple[Mapping[str, Any], bytes]:
    parsed = {raw: orjson.loads(raw) for raw in set(said.values())}
    document = merged({worker: parsed[raw] for worker, raw in said.items()}, uploaded)
    return document, orjson.dumps(document)
