"""Stager: puts a run's input assets onto its worker and names them in its graph.

On the worker a file is called by the hash of its content, so the same bytes are sent once, and overwriting one is no
harm. What was sent is remembered for as long as the ComfyUI is the same, and forgotten when it misses something.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from orchestrator.comfy.client import ComfyClient
from orchestrator.delivery.keys import asset_key
from orchestrator.delivery.storage import Storage
from orchestrator.domain.asset import Asset
from orchestrator.errors import FleetError, NotFound, Permanent, Retryable, WorkerFault
from orchestrator.graph.stage import asset_ids, stage
from orchestrator.store.port import Graph
from orchestrator.worker.backoff import insist

_FORM_BYTES = 1024  # what an upload has around its file


class Stager:
    """For one ComfyUI. `find` is the store's `asset`; `limit` the bytes that the ComfyUI takes in one upload."""

    def __init__(
        self,
        client: ComfyClient,
        storage: Storage,
        find: Callable[[str], Awaitable[Asset]],
        limit: int,
        doubt: Callable[[], None],
    ) -> None:
        self._client = client
        self._storage = storage
        self._find = find
        self._limit = limit
        self._doubt = doubt
        self._there: dict[str, str] = {}  # asset id -> its name on the worker
        self._uploading = asyncio.Lock()  # one at a time: the network is shared, and two runs may want the same file

    async def stage(self, graph: Graph, run_id: str) -> Graph:
        """The graph as it can be posted. Raises Permanent("asset_missing") for an asset that is not stored any more,
        and what ComfyClient.upload raises."""
        files = {asset: self._there.get(asset) or await self._upload(asset) for asset in asset_ids(graph)}
        return stage(graph, run_id, files)

    def forget(self, graph: Graph) -> bool:
        """Has the assets of this graph sent again by the next `stage`; False if it has none."""
        known = [asset for asset in asset_ids(graph) if self._there.pop(asset, None)]
        return bool(known)

    async def _upload(self, asset_id: str) -> str:
        async with self._uploading:
            if asset_id not in self._there:
                asset = await self._asset(asset_id)
                await insist(partial(self._send, asset), self._doubt)
                self._there[asset_id] = asset.filename
            return self._there[asset_id]

    async def _asset(self, asset_id: str) -> Asset:
        try:
            asset = await insist(lambda: self._find(asset_id))
        except NotFound as error:
            raise _missing(asset_id) from error
        if asset.size_bytes + _FORM_BYTES > self._limit:
            raise Retryable(
                "too_large_for_worker",
                f"{asset.name} has {asset.size_bytes} bytes, and {self._client.url} takes {self._limit}: start its "
                "ComfyUI with a larger --max-upload-size, or send a smaller file",
                asset=asset_id,
            )
        return asset

    async def _send(self, asset: Asset) -> None:
        source = _Source(self._storage.read(asset_key(asset.hash), end=asset.size_bytes))
        try:
            await self._client.upload(asset.filename, source.chunks())
        except WorkerFault:
            if source.failure is None:
                raise
        if isinstance(source.failure, NotFound):
            raise _missing(asset.id) from source.failure
        if source.failure is not None:
            raise source.failure


class _Source:
    """A file on its way from storage to ComfyUI. When reading fails, the HTTP client knows only that sending did."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.failure: FleetError | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                yield chunk
        except FleetError as error:
            self.failure = error
            raise


def _missing(asset_id: str) -> Permanent:
    message = f"asset {asset_id} is not stored any more: upload it again and submit a new job"
    return Permanent("asset_missing", message, asset=asset_id)
