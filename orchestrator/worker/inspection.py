"""Inspection: what a ComfyUI is and has, asked once whenever it may be another one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson
from blake3 import blake3

from orchestrator.comfy.client import ComfyClient
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import WorkerInfo
from orchestrator.errors import WorkerFault
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.listed import listed
from orchestrator.store.port import Contents


@dataclass(frozen=True, slots=True)
class Inspection:
    """`sizes` are bytes; `upload_limit` those of one body. `remote` is what its agent would fetch: it is offered in
    `object_info` and `catalog` as if it were there."""

    info: WorkerInfo
    object_info: bytes
    catalog: Catalog
    sizes: Mapping[ModelRef, int]
    upload_limit: int
    remote: Contents


async def inspect(client: ComfyClient, info: WorkerInfo, remote: Contents) -> Inspection:
    """Raises WorkerFault when it does not answer as a ComfyUI does."""
    stats = await client.system_stats()
    upload_limit = await client.upload_limit()
    sizes = {ModelRef.at(name): size for name, size in (await client.model_sizes()).items()}
    object_info, catalog = await _described(client, remote)
    seen = replace(
        info,
        url=client.url,
        comfyui_version=stats.version,
        device=stats.device,
        vram_bytes=stats.vram_bytes,
        ram_bytes=stats.ram_bytes,
        catalog=blake3(object_info).hexdigest(),
    )
    return Inspection(seen, object_info, catalog, sizes, upload_limit, remote)


async def read_catalog(client: ComfyClient) -> Catalog:
    """What it offers at this moment. Raises WorkerFault as `inspect` does."""
    _, catalog = await _described(client, {})
    return catalog


async def _described(client: ComfyClient, remote: Contents) -> tuple[bytes, Catalog]:
    return await asyncio.to_thread(_read, await client.object_info(), remote, client.url)


def _read(object_info: bytes, remote: Contents, url: str) -> tuple[bytes, Catalog]:
    try:
        document = orjson.loads(object_info)
    except orjson.JSONDecodeError as error:
        raise WorkerFault(
            "comfyui_broken", f"{url}/object_info is not JSON ({error}): a node pack breaks it"
        ) from error
    if not isinstance(document, dict) or not document:
        raise WorkerFault("comfyui_broken", f"{url}/object_info lists no node classes: is the URL right?")
    if remote:
        document = listed(document, remote)
        object_info = orjson.dumps(document)
    return object_info, Catalog.parse(document)
