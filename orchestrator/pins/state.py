"""What provision made in a folder, so that it removes only its own, and the model store keeps what is in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from orchestrator.pins.exclusive import write_atomically

SCHEMA = 1
PRIVATE = ".comfyfleet"
"""The folder in a provisioned ComfyUI that is ours."""


@dataclass(frozen=True, slots=True)
class State:
    """`lock`: the digest of the lock that was last provisioned in full. Models: "folder/name" -> SHA-256."""

    lock: str | None = None
    node_packs: tuple[str, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict[str, str])


def provisioned(folder: Path) -> bool:
    """Whether what is in the folder is ours to change."""
    return _file(folder).exists()


def read(folder: Path) -> State:
    """Nothing, where nothing was provisioned."""
    try:
        document: Any = orjson.loads(_file(folder).read_bytes())
    except (OSError, ValueError):
        return State()
    return State(document["lock"], tuple(document["node_packs"]), document["models"])


def write(folder: Path, state: State) -> None:
    write_atomically(_file(folder), orjson.dumps({"schema": SCHEMA, **asdict(state)}))


def _file(folder: Path) -> Path:
    return folder / PRIVATE / "provisioned.json"
