"""What this very large ComfyUI is and has: node classes and models of all workers, and the workers as its devices."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from orchestrator import __version__
from orchestrator.api.errors import answer
from orchestrator.api.native.answers import body_of
from orchestrator.controller.object_info import ObjectInfo
from orchestrator.domain.worker import Worker, WorkerState
from orchestrator.store.port import Mail, MailKind, Store

# Folders that ComfyUI always has, and that its clients ask for.
_FOLDERS = (
    "checkpoints", "clip_vision", "controlnet", "diffusion_models", "embeddings", "hypernetworks", "loras",
    "style_models", "text_encoders", "upscale_models", "vae",
)  # fmt: skip


def features(max_upload_bytes: int) -> dict[str, Any]:
    """What ComfyUI says that it supports, over HTTP and to a socket that asks."""
    return {"supports_preview_metadata": True, "max_upload_size": max_upload_bytes, "assets": False}


class CatalogRoutes:
    def __init__(self, store: Store, object_info: ObjectInfo, supported: Mapping[str, Any], pool: str) -> None:
        self._store = store
        self._object_info = object_info
        self._features = supported
        self._pool = pool

    def table(self) -> Sequence[web.RouteDef]:
        return (
            web.get("/object_info", self.object_info),
            web.get("/object_info/{name}", self.class_info),
            web.get("/models", self.folders),
            web.get("/models/{folder}", self.models),
            web.get("/experiment/models", self.folder_details),
            web.get("/experiment/models/{folder}", self.model_details),
            web.get("/embeddings", self.embeddings),
            web.get("/extensions", self.extensions),
            web.get("/features", self.features),
            web.get("/system_stats", self.system_stats),
            web.post("/free", self.free),
        )

    async def object_info(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=await self._object_info.as_bytes(), content_type="application/json")

    async def class_info(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        found = (await self._object_info.document()).get(name)
        return answer({} if found is None else {name: found})

    async def folders(self, request: web.Request) -> web.StreamResponse:
        return answer(sorted(await self._models()))

    async def models(self, request: web.Request) -> web.StreamResponse:
        found = (await self._models()).get(request.match_info["folder"])
        return web.Response(status=404) if found is None else answer(found)

    async def folder_details(self, request: web.Request) -> web.StreamResponse:
        return answer([{"name": folder, "folders": [f"models/{folder}"]} for folder in sorted(await self._models())])

    async def model_details(self, request: web.Request) -> web.StreamResponse:
        found = (await self._models()).get(request.match_info["folder"])
        return web.Response(status=404) if found is None else answer([{"name": name, "pathIndex": 0} for name in found])

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """Their names without suffix."""
        found = (await self._models())["embeddings"]
        return answer(sorted({name.rpartition(".")[0] or name for name in found}))

    async def extensions(self, request: web.Request) -> web.StreamResponse:
        """None of the node packs' own scripts: their routes are on the workers, which nobody reaches from here."""
        return answer([])

    async def features(self, request: web.Request) -> web.StreamResponse:
        return answer(self._features)

    async def system_stats(self, request: web.Request) -> web.StreamResponse:
        workers = sorted(await self._workers(), key=lambda worker: worker.info.id)
        versions = [worker.info.comfyui_version for worker in workers if worker.info.comfyui_version]
        ram = sum(worker.info.ram_bytes or 0 for worker in workers)
        system = {
            "os": sys.platform,
            "ram_total": ram,
            "ram_free": ram,
            "comfyui_version": max(versions, key=versions.count) if versions else None,
            "comfyfleet_version": __version__,
            "required_frontend_version": None,
            "installed_templates_version": None,
            "required_templates_version": None,
            "python_version": sys.version,
            "pytorch_version": "",
            "embedded_python": False,
            "argv": ["comfyfleet"],
        }
        return answer({"system": system, "devices": [_device(n, worker) for n, worker in enumerate(workers)]})

    async def free(self, request: web.Request) -> web.StreamResponse:
        """Unloads what idle workers hold: those that work for somebody go on with what they have."""
        body = await body_of(request)
        if body.get("unload_models") or body.get("free_memory"):
            for worker in await self._workers():
                if worker.state is WorkerState.READY and not worker.runs:
                    await self._store.post(Mail(MailKind.FREE, worker.info.id))
        return web.Response()

    async def _models(self) -> Mapping[str, Sequence[str]]:
        """By folder, whatever some loader offers, and what workers say that they have: no loader lists embeddings."""
        found: dict[str, set[str]] = {folder: set() for folder in _FOLDERS}
        for folder, names in (await self._object_info.models()).items():
            found.setdefault(folder, set()).update(names)
        for digest in {worker.models for worker in await self._workers() if worker.models}:
            for model in await self._store.models(digest):
                found.setdefault(model.folder, set()).add(model.name)
        return {folder: sorted(names) for folder, names in found.items()}

    async def _workers(self) -> list[Worker]:
        return [worker for worker in await self._store.workers() if worker.info.pool == self._pool]


def _device(index: int, worker: Worker) -> dict[str, Any]:
    info, resident = worker.info, worker.residency
    total = info.vram_bytes or 0
    used = sum(resident.sizes.get(model, 0) for model in resident.vram)
    free = max(total - used, 0)
    return {
        "name": f"{info.id}: {info.device or 'unknown'} ({worker.state})",
        "type": "cpu" if info.device == "cpu" else "cuda",
        "index": index,
        "vram_total": total,
        "vram_free": free,
        "torch_vram_total": total,
        "torch_vram_free": free,
    }
