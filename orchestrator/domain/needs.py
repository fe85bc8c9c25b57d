"""Needs: what a graph asks of a worker before it can run there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ModelRef:
    """A model file as ComfyUI names it. `folder` is a key of ComfyUI's folder_paths ("checkpoints", "loras", ...)."""

    folder: str
    name: str

    @classmethod
    def at(cls, path: str) -> ModelRef:
        """From FOLDER/NAME, where the name may have folders of its own."""
        folder, _, name = path.partition("/")
        return cls(folder, name)

    @property
    def path(self) -> str:
        """FOLDER/NAME, as locks and people write it."""
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True, slots=True)
class Content:
    """What a worker has under a model's name: its bytes, and their SHA-256 in hex once somebody has read them.

    `remote`: it is not on the worker's disk, and its agent fetches it once runs need it; `fault`: why it could not.
    """

    bytes: int
    sha256: str | None = None
    remote: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """Sorted and without repeats, so that equal needs are equal values."""

    classes: tuple[str, ...] = ()
    models: tuple[ModelRef, ...] = ()
    vram_over: int = 0  # bytes that were too few on the worker that tried: it takes more than so many
