"""Files of one name that are not the same on all workers of a pool. Pure.

Jobs ask for a model by its name, and whoever takes one uses the file that it has: two files make two pictures.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.pins.diff import short
from orchestrator.pins.observed import SeenModel


def variants(models: Mapping[str, Mapping[str, SeenModel]]) -> dict[str, dict[str, list[str]]]:
    """By "folder/name" of what differs for certain: what there is, in words -> the workers that have it.

    `models`: by worker, what it has. Of files that nobody has read only the size is known.
    """
    by_name: dict[str, dict[str, SeenModel]] = {}
    for worker, has in models.items():
        for name, model in has.items():
            by_name.setdefault(name, {})[worker] = model
    return {name: _sorted(seen) for name, seen in sorted(by_name.items()) if _differ(seen)}


def _differ(seen: Mapping[str, SeenModel]) -> bool:
    sizes = {model.bytes for model in seen.values()}
    digests = {model.sha256 for model in seen.values() if model.sha256}
    return len(sizes) > 1 or len(digests) > 1


def _sorted(seen: Mapping[str, SeenModel]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for worker, model in seen.items():
        what = f"sha256 {short(model.sha256)}" if model.sha256 else f"{model.bytes} bytes that nobody has read yet"
        kinds.setdefault(what, []).append(worker)
    return kinds
