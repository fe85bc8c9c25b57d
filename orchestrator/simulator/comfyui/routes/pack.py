"""GET /fleet/residency and /fleet/inventory, as our node pack answers them in a real ComfyUI."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from orchestrator.simulator.comfyui.routes.context import Sim
from orchestrator.simulator.comfyui.values import Weights

KINDS = {"model": "diffusion_model", "clip": "text_encoder", "control_net": "controlnet"}


def routes(sim: Sim) -> list[web.RouteDef]:
    config, residency = sim.machine.config, sim.machine.residency
    gaps = config.node_pack_gaps

    def named(file: str, size: int) -> dict[str, Any]:
        folder, _, name = file.partition("/")
        if "files" in gaps:
            return {"folder": None, "name": None, "bytes": size}
        return {"folder": folder, "name": name, "bytes": size, "file_bytes": config.model_files[folder][name]}

    def loaded(part: Weights) -> dict[str, Any]:
        patches = [{"folder": "loras", "name": patch.rpartition(":")[0]} for patch in part.patches]
        kind = KINDS.get(part.part, part.part)
        placed = {"loaded_bytes": part.size, "device": "cuda:0", "kind": kind}
        return {**named(part.file, part.size), **placed, **({"patches": patches} if patches else {})}

    async def get(request: web.Request) -> web.Response:
        policy = "ram_pressure" if config.profile.cache_by_memory else "classic"
        told = {
            "models": [loaded(part) for part in reversed(residency.placed)],
            "cache": {"policy": policy, "models": [named(file, size) for file, size in residency.read_files]},
            "vram": {"device": "cuda:0", "total": config.vram_bytes},
        }
        shown = {key: value for key, value in told.items() if key not in gaps}
        return web.json_response({"schema": 1, **shown, "unavailable": dict(gaps)})

    return [web.get("/fleet/residency", get), web.get("/fleet/inventory", _Inventory(sim).get)]


class _Inventory:
    """A file's digest is known from the answer on that follows the one which it was asked for with."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        self._hashed: set[str] = set()

    async def get(self, request: web.Request) -> web.Response:
        config, folders = self._sim.machine.config, self._sim.classes.models
        models: list[dict[str, Any]] = [
            {"folder": folder, "name": name, "bytes": size}
            for folder, files in folders.items()
            for name, size in files.items()
        ]
        for model in models:
            path = f"{model['folder']}/{model['name']}"
            model["sha256"] = sha256(path, config.weights) if path in self._hashed else None
            if path in request.query.getall("hash", ()) or request.query.get("sha256") == "1":
                self._hashed.add(path)
        return web.json_response({"schema": 1, **config.made_of, "models": models, "unavailable": {}})


def sha256(path: str, weights: Mapping[str, str]) -> str:
    """The digest that is told of a model file."""
    return hashlib.sha256(f"{path} {weights.get(path, '')}".encode()).hexdigest()
