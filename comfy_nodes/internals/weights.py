"""Where ComfyUI keeps model files, and on which device it lets us compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import Missing, module

EXTENSIONS = {".safetensors", ".onnx"}


def register_folder(name: str) -> None:
    """Adds models/NAME to the folders that ComfyUI knows, unless it or an extra_model_paths.yaml knows one already."""
    try:
        paths = module("folder_paths")
    except Missing:
        return
    if name not in paths.folder_names_and_paths:
        paths.folder_names_and_paths[name] = ([str(Path(paths.models_dir) / name)], set(EXTENSIONS))


def roots(name: str) -> list[Path]:
    """The directories of a model folder; none outside ComfyUI."""
    try:
        known = module("folder_paths").folder_names_and_paths
    except Missing:
        return []
    return [Path(root) for root in known[name][0]] if name in known else []


def place(weights: Any, file: Path) -> Any:
    """A ModelPatcher for a torch module that was read from `file`: ComfyUI loads it, offloads it, and shows it."""
    management, torch = module("comfy.model_management"), module("torch")
    holder = torch.nn.Module()  # ComfyUI writes attributes, such as `device`, that networks of transformers refuse
    holder.network = weights
    patcher = module("comfy.model_patcher").ModelPatcher(
        holder, load_device=management.get_torch_device(), offload_device=torch.device("cpu")
    )
    patcher.cached_patcher_init = (_not_again, (str(file),))  # tells /fleet/residency which file it is
    return patcher


def run(patcher: Any, working_bytes: int, call: Callable[[Any], Any]) -> Any:
    """Calls with a device on which the patcher's weights lie.

    That is ComfyUI's, if they are there or fit beside what is: nothing is unloaded for a score. Else it is the CPU.
    """
    management, torch = module("comfy.model_management"), module("torch")
    if _fits(patcher, working_bytes, management):
        management.load_models_gpu([patcher], memory_required=working_bytes, force_full_load=True)
        device = patcher.load_device
    else:
        patcher.detach()
        device = patcher.offload_device
    with torch.inference_mode():
        return call(device)


def _fits(patcher: Any, working_bytes: int, management: Any) -> bool:
    missing = patcher.model_size() - patcher.loaded_size()
    reserve = max(working_bytes, management.minimum_inference_memory()) + management.extra_reserved_memory()
    return management.get_free_memory(patcher.load_device) >= max(0, missing) + reserve


def _not_again(file: str) -> Any:
    raise NotImplementedError(f"the node that scores with {file} loads it itself")
