"""GET /fleet/residency, as our node pack answers it in a real ComfyUI."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from orchestrator.simulator.comfyui.routes.context import Sim

KINDS = {"model": "diffusion_model", "clip": "text_encoder", "control_net": "controlnet"}


def routes(sim: Sim) -> list[web.RouteDef]:
    residency = sim.machine.residency

    async def get(request: web.Request) -> web.Response:
        loaded = [
            {**_file(part.file, part.size), "kind": KINDS.get(part.part, part.part), "device": "cuda:0"}
            for part in reversed(residency.placed)
        ]
        policy = "ram_pressure" if sim.machine.config.profile.cache_by_memory else "classic"
        cache = {"policy": policy, "models": [_file(file, size) for file, size in residency.read_files]}
        return web.json_response({"schema": 1, "models": loaded, "cache": cache, "unavailable": {}})

    return [web.get("/fleet/residency", get)]


def _file(file: str, size: int) -> dict[str, Any]:
    folder, _, name = file.partition("/")
    return {"folder": folder, "name": name, "bytes": size}
