"""Listed: an answer of /object_info in which loaders offer files that are not on disk yet.

A ComfyUI lists what it has. What its agent would fetch for a run has to be listed as well, or nobody could ask for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.domain.needs import ModelRef
from orchestrator.graph.loaders import combo_folder
from orchestrator.graph.shape import is_list, is_object


def listed(object_info: Mapping[str, Any], models: Collection[ModelRef]) -> dict[str, Any]:
    """With these models where loaders offer those of their folders."""
    names: dict[str, list[str]] = {}
    for model in models:
        names.setdefault(model.folder, []).append(model.name)
    return {name: _class(name, info, names) for name, info in object_info.items()}


def _class(name: str, info: Any, names: Mapping[str, list[str]]) -> Any:
    said = info.get("input") if is_object(info) else None
    if not is_object(said):
        return info
    groups = {
        group: {key: _input(name, key, entry, names) for key, entry in said[group].items()}
        for group in ("required", "optional")
        if is_object(said.get(group))
    }
    return {**info, "input": {**said, **groups}}


def _input(owner: str, name: str, entry: Any, names: Mapping[str, list[str]]) -> Any:
    """In either of ComfyUI's forms: [[choice...], settings], or ["COMBO", {"options": [choice...]}]."""
    if not is_list(entry) or not entry:
        return entry
    kind, *rest = entry
    settings = rest[0] if rest and is_object(rest[0]) else {}
    choices = kind if is_list(kind) else settings.get("options")
    if not is_list(choices) or not (more := names.get(combo_folder(owner, name, choices) or "")):
        return entry
    longer = [*choices, *(name for name in more if name not in choices)]
    return [longer, *rest] if is_list(kind) else [kind, {**settings, "options": longer}]
