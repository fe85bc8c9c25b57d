"""Watches ComfyUI execute, by wrapping three of its functions.

The wrappers pass on every argument, result and exception. What fails in watching is kept as provenance.fault and
never reaches a node.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from ..provenance import File, Provenance
from . import Missing, module
from .outputs import given, is_module

_executors: WeakSet[Any] = WeakSet()


def observe(provenance: Provenance) -> dict[str, str]:
    """Starts to watch which files models come from; answers what cannot be watched, and why."""
    reasons: dict[str, str] = {}
    for what, watch in (("files", _watch_lookups), ("files", _watch_calls), ("cache", _watch_executors)):
        try:
            watch(provenance)
        except (Missing, AttributeError) as error:
            reasons.setdefault(what, str(error))
    return reasons


def executor() -> Any:
    """ComfyUI's PromptExecutor. It is a local variable of the worker thread, so it is noted when it is made."""
    executors = list(_executors)
    if not executors:
        raise Missing("no executor was made since this pack was loaded")
    return executors[0]


def _watch_lookups(provenance: Provenance) -> None:
    """Every lookup of a model file ends in folder_paths.get_full_path, that by get_full_path_or_raise too."""
    folder_paths = module("folder_paths")
    original, map_legacy = folder_paths.get_full_path, folder_paths.map_legacy

    @functools.wraps(original)
    def get_full_path(folder_name: str, filename: str, *args: Any, **kwargs: Any) -> Any:
        path = original(folder_name, filename, *args, **kwargs)
        if path:
            _note(provenance, lambda: provenance.looked_up(File(map_legacy(folder_name), filename, path)))
        return path

    folder_paths.get_full_path = get_full_path


def _watch_calls(provenance: Provenance) -> None:
    """execution.get_output_data calls one node; its answer begins with the outputs."""
    execution = module("execution")
    original, module_size = execution.get_output_data, module("comfy.model_management").module_size

    def size(weights: Any) -> int | None:
        return int(module_size(weights)) if is_module(weights) else None

    @functools.wraps(original)
    async def get_output_data(*args: Any, **kwargs: Any) -> Any:
        with provenance.call() as files:
            result = await original(*args, **kwargs)
        _note(provenance, lambda: provenance.gave_out(files, given(result[0]), size))
        return result

    execution.get_output_data = get_output_data


def _watch_executors(provenance: Provenance) -> None:
    prompt_executor = module("execution").PromptExecutor
    original = prompt_executor.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _note(provenance, lambda: _executors.add(self))

    prompt_executor.__init__ = __init__


def _note(provenance: Provenance, note: Callable[[], None]) -> None:
    try:
        note()
    except Exception as error:  # noqa: BLE001 - whatever ComfyUI changed, a node must not fail because it is watched
        provenance.fault = f"{type(error).__name__}: {error}"
