"""What this ComfyUI is and has: node classes, models, devices, features. And, ours alone, what it has loaded."""

from __future__ import annotations

import sys
import time
from pathlib import PurePath

from aiohttp import web

from orchestrator.simulator.comfyui.faults import Kind
from orchestrator.simulator.comfyui.routes.context import Sim

FOLDERS = (
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "latent_upscale_models",
    "custom_nodes",
    "datasets",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
    "background_removal",
    "frame_interpolation",
    "geometry_estimation",
    "optical_flow",
    "detection",
)
NEWER_FOLDERS = frozenset(
    {"latent_upscale_models", "datasets", "background_removal", "frame_interpolation", "geometry_estimation"}
    | {"optical_flow", "detection"}
)
PACKAGE_VERSIONS = ("required_frontend_version", "installed_templates_version", "required_templates_version")
EXTENSIONS = [".bin", ".ckpt", ".pkl", ".pt", ".pt2", ".pth", ".safetensors", ".sft"]
NO_MODELS = ("configs", "custom_nodes")


def routes(sim: Sim) -> list[web.RouteDef]:
    catalog = Catalog(sim)
    return [
        web.get("/object_info", catalog.object_info),
        web.get("/object_info/{node_class}", catalog.object_info_of),
        web.get("/system_stats", catalog.system_stats),
        web.get("/features", catalog.features),
        web.get("/models", catalog.folders),
        web.get("/models/{folder}", catalog.models),
        web.get("/experiment/models", catalog.folder_details),
        web.get("/experiment/models/{folder}", catalog.model_details),
        web.get("/embeddings", catalog.embeddings),
        web.get("/extensions", catalog.extensions),
        web.get("/simulator/loads", catalog.loads),
    ]


class Catalog:
    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        self._config = sim.machine.config
        unknown = frozenset[str]() if self._config.profile.jobs_api else NEWER_FOLDERS
        self._folders = [folder for folder in FOLDERS if folder not in unknown]

    async def object_info(self, request: web.Request) -> web.Response:
        slow = self._sim.machine.faults.strike(Kind.SLOW_OBJECT_INFO)
        if slow is not None:
            time.sleep(slow.seconds)  # noqa: ASYNC251 - ComfyUI asks every class within its event loop
        return web.json_response(self._sim.classes.object_info(list(self._sim.classes)))

    async def object_info_of(self, request: web.Request) -> web.Response:
        return web.json_response(self._sim.classes.object_info([request.match_info["node_class"]]))

    async def system_stats(self, request: web.Request) -> web.Response:
        config, residency = self._config, self._sim.machine.residency
        ram_free = config.ram_bytes - residency.ram_used
        on_cpu = config.device == "cpu"
        total = config.ram_bytes if on_cpu else config.vram_bytes
        free = ram_free if on_cpu else total - residency.vram_used
        device = {
            "name": "cpu" if on_cpu else "cuda:0 Simulated GPU : cudaMallocAsync",
            "type": config.device,
            "index": None if on_cpu else 0,
            "vram_total": total,
            "vram_free": free,
            "torch_vram_total": total if on_cpu else residency.vram_used,
            "torch_vram_free": free if on_cpu else 0,
        }
        system = {
            "os": sys.platform if config.profile.jobs_api else "posix",
            "ram_total": config.ram_bytes,
            "ram_free": ram_free,
            "comfyui_version": config.version,
            "python_version": sys.version,
            "pytorch_version": "simulated",
            "embedded_python": False,
            "argv": sys.argv,
            **dict.fromkeys(PACKAGE_VERSIONS, "simulated"),
        }
        if config.profile.jobs_api:
            system |= {"comfy_package_versions": [], "deploy_environment": "simulated"}
        return web.json_response({"system": system, "devices": [device]})

    async def features(self, request: web.Request) -> web.Response:
        return web.json_response(self._sim.features())

    async def folders(self, request: web.Request) -> web.Response:
        return web.json_response(self._folders)

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response(sorted(self._files_in(request)))

    async def folder_details(self, request: web.Request) -> web.Response:
        folders = [folder for folder in self._folders if folder not in NO_MODELS]
        return web.json_response(
            [{"name": folder, "folders": [f"models/{folder}"], "extensions": EXTENSIONS} for folder in folders]
        )

    async def model_details(self, request: web.Request) -> web.Response:
        files = self._files_in(request)
        return web.json_response(
            [
                {"name": name, "pathIndex": 0, "modified": 0.0, "created": 0.0, "size": size}
                for name, size in sorted(files.items())
            ]
        )

    async def embeddings(self, request: web.Request) -> web.Response:
        return web.json_response(
            [str(PurePath(name).with_suffix("")) for name in sorted(self._sim.classes.models.get("embeddings", {}))]
        )

    async def extensions(self, request: web.Request) -> web.Response:
        return web.json_response([])

    async def loads(self, request: web.Request) -> web.Response:
        return web.json_response(self._sim.machine.residency.snapshot())

    def _files_in(self, request: web.Request) -> dict[str, int]:
        folder = request.match_info["folder"]
        if folder not in self._folders:
            raise web.HTTPNotFound(text="")
        return dict(self._sim.classes.models.get(folder, {}))
