"""Collector: brings what runs made from one ComfyUI into storage, while the next run executes there.

Files go under their run's own path, so that what is collected for a run that turns out not to be ours any more is
never seen, and is deleted in one go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from orchestrator.comfy.answers import FileOutput, TextOutput
from orchestrator.comfy.client import ComfyClient
from orchestrator.delivery import keys
from orchestrator.delivery.media import HEAD_BYTES, Media, inspect
from orchestrator.delivery.storage import Storage
from orchestrator.domain.asset import MediaType, Output
from orchestrator.worker.backoff import insist

PARALLEL = 4  # transfers at once from one worker, whatever the number of runs
_TEXT = Media("text/plain; charset=utf-8", MediaType.TEXT)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose outputs they are."""

    job_id: str
    run_id: str


class Collector:
    """For one ComfyUI. Waits for a storage or a ComfyUI that is away; `doubt` is told of the latter."""

    def __init__(self, client: ComfyClient, storage: Storage, doubt: Callable[[], None]) -> None:
        self._client = client
        self._storage = storage
        self._doubt = doubt
        self._slots = asyncio.Semaphore(PARALLEL)

    async def collect(self, owner: Owner, number: int, output: FileOutput | TextOutput) -> Output:
        """Stores it; `number` tells it apart from others of its run. Raises NotFound("output_missing") where the worker
        has it not."""
        async with self._slots:
            if isinstance(output, TextOutput):
                return await insist(lambda: self._put_text(owner, number, output))
            stored = await insist(lambda: self._put_file(owner, number, output), self._doubt)
            return replace(stored, place=f"{output.type}/{output.subfolder}")

    async def discard(self, owner: Owner) -> None:
        """Deletes what was stored for a run."""
        await insist(lambda: self._storage.delete_prefix(keys.run_prefix(owner.job_id, owner.run_id)))

    async def _put_text(self, owner: Owner, number: int, output: TextOutput) -> Output:
        name = f"{output.node_id}.txt"
        return await self._put(owner, number, output.node_id, name, output.text.encode(errors="replace"), _TEXT)

    async def _put_file(self, owner: Owner, number: int, output: FileOutput) -> Output:
        async with aclosing(self._client.view(output)) as chunks:
            head = bytearray()
            async for chunk in chunks:
                head += chunk
                if len(head) >= HEAD_BYTES:
                    break
            whole = bytes(head)
            media = inspect(whole, output.filename)
            if len(whole) < HEAD_BYTES:
                return await self._put(owner, number, output.node_id, output.filename, whole, media)
            async with aclosing(_rejoin(whole, chunks)) as data:
                return await self._put(owner, number, output.node_id, output.filename, data, media)

    async def _put(
        self, owner: Owner, number: int, node_id: str, name: str, data: bytes | AsyncIterator[bytes], media: Media
    ) -> Output:
        key = keys.output_key(owner.job_id, owner.run_id, number, name)
        stored = await self._storage.put(key, data, media.content_type)
        return Output(
            node_id, name, media.type, media.content_type, stored.size_bytes, stored.hash, key,
            media.width, media.height,
        )  # fmt: skip


async def _rejoin(head: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield head
    async for chunk in rest:
        yield chunk
