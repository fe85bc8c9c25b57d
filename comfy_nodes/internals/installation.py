"""What this ComfyUI is made of: version, devices, model folders, node packs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..provenance import NOT_WEIGHTS
from . import module


@dataclass(frozen=True, slots=True)
class Pack:
    """A node pack in a custom_nodes folder: a folder, or one Python file."""

    name: str
    path: Path
    imported: bool


def version() -> str:
    return module("comfyui_version").__version__


def directory() -> Path:
    """Where ComfyUI's own files lie; --base-directory does not move these."""
    return Path(module("folder_paths").__file__).resolve().parent


def user_directory() -> Path:
    return Path(module("folder_paths").get_user_directory())


def torch_version() -> str:
    return str(module("torch").__version__)


def devices() -> list[dict[str, Any]]:
    """The device that models are computed on, then the others that ComfyUI sees. Sizes in bytes."""
    management = module("comfy.model_management")
    first = management.get_torch_device()
    every = getattr(management, "get_all_torch_devices", lambda: [first])()  # not in 0.3.64
    return [
        {
            "name": management.get_torch_device_name(device),
            "type": device.type,
            "index": device.index,
            "total": int(management.get_total_memory(device)),
        }
        for device in [first, *(device for device in every if device != first)]
    ]


def model_folders() -> dict[str, list[Path]]:
    """Folder names that hold model files, with the directories that are searched for each, in that order."""
    known = module("folder_paths").folder_names_and_paths
    return {name: [Path(root) for root in known[name][0]] for name in list(known) if name not in NOT_WEIGHTS}


def model_names(folder: str) -> list[str]:
    """The names in a folder as ComfyUI lists them, relative to its directories."""
    return module("folder_paths").get_filename_list(folder)


def node_packs() -> list[Pack]:
    """What ComfyUI loads from its custom_nodes folders, chosen and named as nodes.load_custom_node does."""
    roots = [Path(root) for root in module("folder_paths").get_folder_paths("custom_nodes")]
    paths = [path for root in roots if root.is_dir() for path in sorted(root.iterdir())]
    return [
        Pack(path.name, path, _offers_nodes(sys.modules.get(_module_name(path))))
        for path in paths
        if path.name != "__pycache__"
        and not path.name.endswith(".disabled")
        and (path.is_dir() or path.suffix == ".py")
    ]


def log_lines() -> list[str]:
    """What ComfyUI keeps of its log: about the last 300 messages."""
    return [entry["m"] for entry in list(module("app.logger").get_logs() or ())]


def _module_name(pack: Path) -> str:
    return str(pack).replace(".", "_x_") if pack.is_dir() else str(pack.with_suffix(""))


def _offers_nodes(imported: Any) -> bool:
    """A module that failed half-way stays in sys.modules, but without what a node pack defines last."""
    return getattr(imported, "NODE_CLASS_MAPPINGS", None) is not None or hasattr(imported, "comfy_entrypoint")
