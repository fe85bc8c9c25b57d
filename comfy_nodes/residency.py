"""The answer of GET /fleet/residency, made of what internals.py saw. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .provenance import OTHER_KIND, File


@dataclass(frozen=True, slots=True)
class Held:
    """Weights in memory. `loaded_bytes` of them lie on `device`; both are None of what the node cache keeps."""

    files: tuple[File, ...]
    kind: str | None
    bytes: int | None
    loaded_bytes: int | None = None
    device: str | None = None
    patches: tuple[File, ...] = ()


def entries(held: Iterable[Held], file_bytes: Mapping[str, int]) -> list[dict[str, Any]]:
    """One entry for each file of each model, in the order given.

    `file_bytes` holds sizes on disk by path. Weights that came from several files are shared out among these in
    proportion to their sizes, so that sums over all entries are right. What is not known is null, or not there where
    the README says so.
    """
    return [entry for model in held for entry in _entries(model, file_bytes)]


def unnamed(held: Iterable[Held]) -> int:
    """How many of them came from files that are not known."""
    return sum(not model.files for model in held)


def _entries(held: Held, file_bytes: Mapping[str, int]) -> Iterable[dict[str, Any]]:
    if not held.files:
        yield {"folder": None, "name": None, "bytes": held.bytes, **_placement(held, held.loaded_bytes)}
        return
    weights = [file_bytes.get(file.path, 0) for file in held.files]
    sizes = _share(held.bytes, weights)
    loaded = _share(held.loaded_bytes, weights)
    for index, file in enumerate(held.files):
        on_disk = file_bytes.get(file.path)
        size = sizes[index] if sizes is not None else on_disk
        entry: dict[str, Any] = {"folder": file.folder, "name": file.name, "bytes": size}
        if on_disk is not None:
            entry["file_bytes"] = on_disk
        if file.folder is None:
            entry["path"] = file.path
        yield {**entry, **_placement(held, loaded[index] if loaded is not None else None, file)}


def _placement(held: Held, loaded_bytes: int | None, file: File | None = None) -> dict[str, Any]:
    kind = held.kind or (file.kind if file else OTHER_KIND)
    placement: dict[str, Any] = {"kind": kind}
    if held.device is not None:
        placement = {"loaded_bytes": loaded_bytes, "device": held.device, **placement}
    if held.patches:
        placement["patches"] = [{"folder": patch.folder, "name": patch.name} for patch in held.patches]
    return placement


def _share(total: int | None, weights: Sequence[int]) -> list[int] | None:
    """A total shared out in proportion, evenly where no weight is known; the parts sum up to it."""
    if total is None:
        return None
    if not all(weights):
        weights = [1] * len(weights)
    parts = [total * weight // sum(weights) for weight in weights]
    parts[-1] += total - sum(parts)
    return parts
