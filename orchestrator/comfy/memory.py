"""What a ComfyUI holds in memory, as our node pack tells it (GET /fleet/residency). Pure.

The pack has an entry for each model that was made of a file, so one checkpoint has several; here they are one again.
What it could not read is None here, and `unavailable` says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from orchestrator.comfy.protocol import mapping, sequence, text
from orchestrator.domain.needs import ModelRef

PARTS = MODELS, CACHE, FILES = "models", "cache", "files"
"""What `unavailable` may name: models loaded for computing, the node cache, and which files some of them came from."""


@dataclass(frozen=True, slots=True)
class Held:
    """A model file, all that was made of it together. `on_device`: of its bytes, those where models are computed on."""

    file: ModelRef
    bytes: int
    on_device: int = 0
    file_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """`loaded` for computing, the most recently used last, and `cached` by its nodes. `patched`: files that change what
    is loaded, such as LoRAs. `empty`: whether nothing at all is held, be its file known or not."""

    loaded: tuple[Held, ...] | None
    patched: tuple[ModelRef, ...]
    cached: tuple[Held, ...] | None
    empty: bool | None
    unavailable: Mapping[str, str]


def parse_memory(body: object) -> MemoryReport:
    """The answer of /fleet/residency. Raises Malformed."""
    answer = mapping(body)
    loaded = [mapping(entry) for entry in reversed(sequence(answer[MODELS]))] if MODELS in answer else None
    cached = None
    if CACHE in answer:
        cached = [mapping(entry) for entry in sequence(mapping(answer[CACHE])["models"])]
    return MemoryReport(
        loaded=None if loaded is None else _by_file(loaded, computes_on_cpu="vram" not in answer),
        patched=tuple(dict.fromkeys(_patches(loaded or ()))),
        cached=None if cached is None else _by_file(cached),
        empty=None if loaded is None or cached is None else not loaded and not cached,
        unavailable={key: str(why) for key, why in _dict(answer.get("unavailable")).items()},
    )


def _by_file(entries: Iterable[Mapping[str, Any]], computes_on_cpu: bool = True) -> tuple[Held, ...]:
    """Summed up, in the order of the last entry of each; those whose file has no name are left out."""
    held: dict[ModelRef, Held] = {}
    for entry in entries:
        file = _file(entry)
        if file is None:
            continue
        was = held.pop(file, None) or Held(file, 0)
        on_device = _bytes(entry.get("loaded_bytes")) if computes_on_cpu or entry.get("device") != "cpu" else 0
        file_bytes = _bytes(entry.get("file_bytes")) or was.file_bytes
        held[file] = Held(file, was.bytes + _bytes(entry.get("bytes")), was.on_device + on_device, file_bytes)
    return tuple(held.values())


def _patches(entries: Iterable[Mapping[str, Any]]) -> Iterable[ModelRef]:
    for entry in entries:
        for patch in sequence(entry.get("patches", [])):
            file = _file(mapping(patch))
            if file is not None:
                yield file


def _file(entry: Mapping[str, Any]) -> ModelRef | None:
    if entry.get("folder") is None or entry.get("name") is None:
        return None
    return ModelRef(text(entry["folder"]), text(entry["name"]))


def _bytes(value: object) -> int:
    return max(0, value) if isinstance(value, int) else 0


def _dict(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}
