"""What is in memory now: models that are loaded, models that the node cache keeps, and what is free.

The routes ask from threads of their own while ComfyUI's worker thread changes what is read here. So lists are copied in
one step, no lock is taken, and a model is held only for as long as it takes to read its size: whoever drops the last
reference to a model also runs its finalizers, and that should be ComfyUI's worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..provenance import File, Given, Provenance
from ..residency import Held
from . import Missing, module
from .installation import model_folders
from .observation import executor
from .outputs import given, kind

_CACHE_POLICIES = {
    "HierarchicalCache": "classic",
    "LRUCache": "lru",
    "RAMPressureCache": "ram_pressure",  # not in 0.3.64; the default of 0.33
    "NullCache": "none",  # 0.33
    "DependencyAwareCache": "none",  # 0.3.64
}
_ATTEMPTS = 3


def loaded(provenance: Provenance) -> list[Held]:
    """The models that ComfyUI has loaded for computing, most recently used first."""
    found = (_loaded(entry, provenance) for entry in module("comfy.model_management").current_loaded_models[:])
    return [held for held in found if held is not None]


def cache_policy() -> str:
    """ComfyUI's node cache: classic, lru, ram_pressure or none, else the name of its class."""
    name = type(executor().caches.outputs).__name__
    return _CACHE_POLICIES.get(name, name)


def cached(provenance: Provenance) -> list[Held]:
    """The models that the node cache keeps alive, and the files of patches (loras) that it or its nodes keep."""
    caches = executor().caches
    held: dict[int, Held] = {}
    patches: dict[File, None] = {}
    for entry in _entries(caches.outputs):
        for output in given(getattr(entry, "outputs", entry)):  # 0.33 keeps CacheEntry(ui, outputs), 0.3.64 the outputs
            patches.update(dict.fromkeys(provenance.patches(output.patcher)))
            held.setdefault(id(output.weights), _cached(output, provenance))
    for node in _entries(caches.objects):
        kept = getattr(node, "__dict__", {}).get("loaded_lora")  # LoraLoader and its kin keep (path, tensors, ...)
        if isinstance(kept, tuple) and kept and isinstance(kept[0], str):
            patches[_file_at(kept[0], provenance)] = None
    return [*held.values(), *(Held((file,), file.kind, None) for file in patches)]


def vram() -> dict[str, Any]:
    """Memory of the device that models are computed on, in bytes."""
    management = module("comfy.model_management")
    device = management.get_torch_device()
    if device.type == "cpu":
        raise Missing("this ComfyUI computes on the CPU")
    total, free = management.get_total_memory(device), management.get_free_memory(device)
    return {"device": str(device), "total": int(total), "free": int(free)}


def ram() -> dict[str, int]:
    """Memory of the machine, and resident in this process, in bytes."""
    psutil = module("psutil")
    machine = psutil.virtual_memory()
    return {"total": machine.total, "free": machine.available, "process": psutil.Process().memory_info().rss}


def _loaded(entry: Any, provenance: Provenance) -> Held | None:
    patcher = entry.model
    if patcher is None:  # a weak reference whose model is gone; ComfyUI removes it later
        return None
    origin = provenance.origin(patcher.model)
    return Held(
        files=_files(patcher, provenance) or (origin.files if origin else ()),
        kind=(origin.kind if origin else None) or kind(None, patcher, patcher.model),
        bytes=int(entry.model_memory()),
        loaded_bytes=int(entry.model_loaded_memory()),
        device=str(entry.device),
        patches=provenance.patches(patcher),
    )


def _cached(output: Given, provenance: Provenance) -> Held:
    origin = provenance.origin(output.weights)
    patcher = output.patcher
    return Held(
        files=_files(patcher, provenance) or (origin.files if origin else ()),
        kind=(origin.kind if origin else None) or output.kind,
        bytes=(origin.bytes if origin else None) or getattr(patcher, "size", 0) or None,
        patches=provenance.patches(patcher),
    )


def _files(patcher: Any, provenance: Provenance) -> tuple[File, ...]:
    """Files by the word of the loader: `cached_patcher_init` is (function, (path or paths, ...)); not in 0.3.64."""
    recipe = getattr(patcher, "cached_patcher_init", None)
    source = recipe[1][0] if recipe else ()
    paths = [source] if isinstance(source, str) else source
    if not isinstance(paths, (list, tuple)) or not all(isinstance(path, str) for path in paths):
        return ()
    return tuple(dict.fromkeys(_file_at(path, provenance) for path in paths))


def _file_at(path: str, provenance: Provenance) -> File:
    """A file by its path: named as a node looked it up, else as in the deepest model folder that it lies in."""
    known = provenance.file_at(path)
    if known is not None:
        return known
    searched = [(root, folder) for folder, roots in model_folders().items() for root in roots]
    for root, folder in sorted(searched, key=lambda pair: -len(pair[0].parts)):
        if Path(path).is_relative_to(root):
            return File(folder, str(Path(path).relative_to(root)), path)
    return File(None, Path(path).name, path)


def _entries(cache: Any) -> Iterator[Any]:
    """The values of a cache and of those below it, one held at a time. NullCache has none."""
    entries: dict[Any, Any] = getattr(cache, "cache", {})
    for key in _keys(entries):
        value = entries.get(key)
        if value is not None:
            yield value
    below: dict[Any, Any] = getattr(cache, "subcaches", {})
    for key in _keys(below):
        yield from _entries(below.get(key))


def _keys(changing: dict[Any, Any]) -> list[Any]:
    for _ in range(_ATTEMPTS - 1):
        try:
            return list(changing)
        except RuntimeError:  # a collection of garbage in between let the worker change it
            continue
    return list(changing)
