"""Which file each model in memory came from.

ComfyUI mostly forgets it once a model is loaded. But a node that loads one asks folder_paths where a name lies and then
gives the model out: what was looked up during one call of a node, and what that call gave out for the first time,
belong together. Everything here is held weakly: it keeps no model alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

KIND_OF_FOLDER = {
    "clip_vision": "clip_vision",
    "controlnet": "controlnet",
    "diffusion_models": "diffusion_model",
    "hypernetworks": "hypernetwork",
    "latent_upscale_models": "upscale_model",
    "loras": "lora",
    "text_encoders": "text_encoder",
    "upscale_models": "upscale_model",
    "vae": "vae",
    "vae_approx": "vae",
}
OTHER_KIND = "other"
PATCHES = frozenset({"lora", "hypernetwork"})
"""Kinds of file that change a model that came from another file."""

NOT_WEIGHTS = frozenset({"configs", "custom_nodes", "datasets"})
"""Folders of folder_paths that hold no model files."""


@dataclass(frozen=True, slots=True)
class File:
    """A model file as ComfyUI names it. `folder` is a key of folder_paths; None when the file lies in none of them."""

    folder: str | None
    name: str
    path: str

    @property
    def kind(self) -> str:
        return KIND_OF_FOLDER.get(self.folder or "", OTHER_KIND)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where weights came from. No files: a node gave them out without looking any file up. `bytes` in memory."""

    files: tuple[File, ...]
    kind: str | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Given:
    """Weights among the outputs of a node.

    `weights` stands for them: a torch module shared by all its patchers, or the output itself where no module is seen.
    `patcher` is ComfyUI's ModelPatcher around them, where there is one. `kind` is None where only the file tells it.
    """

    weights: Any
    patcher: Any = None
    kind: str | None = None


def attribute(kind: str | None, files: Iterable[File]) -> tuple[File, ...]:
    """Those of the files that one node call looked up which weights of this kind were made of.

    Loaders of one model look up its files and nothing else. Loaders of several give the files of their own folders to
    the kinds that live there, and the checkpoint to the rest.
    """
    candidates = [file for file in dict.fromkeys(files) if file.kind not in PATCHES]
    own = [file for file in candidates if kind is not None and file.kind == kind]
    whole = [file for file in candidates if file.folder == "checkpoints"]
    return tuple(own or whole or candidates)


_looked_up: ContextVar[list[File] | None] = ContextVar("comfyfleet_looked_up", default=None)


class Provenance:
    """Written by the thread that executes nodes, read by any."""

    def __init__(self) -> None:
        self._origins: WeakKeyDictionary[Any, Origin] = WeakKeyDictionary()
        self._patches: WeakKeyDictionary[Any, tuple[File, ...]] = WeakKeyDictionary()
        self._by_path: dict[str, File] = {}
        self.fault: str | None = None
        """Why an observation failed, if one did: the last one."""

    @contextmanager
    def call(self) -> Iterator[list[File]]:
        """One call of a node; yields the list that its look-ups are put into."""
        files: list[File] = []
        token = _looked_up.set(files)
        try:
            yield files
        finally:
            _looked_up.reset(token)

    def looked_up(self, file: File) -> None:
        """A node, if one is executing here, asked folder_paths for this file."""
        files = _looked_up.get()
        if files is not None and file.folder not in NOT_WEIGHTS:
            files.append(file)
            self._by_path[file.path] = file

    def gave_out(self, files: list[File], outputs: Sequence[Given], size: Callable[[Any], int | None]) -> None:
        """A call of a node that looked up `files` ended. `size` tells bytes in memory and is asked once per weights."""
        made_of: set[File] = set()
        for given in outputs:
            if given.weights not in self._origins:
                origin = Origin(attribute(given.kind, files), given.kind, size(given.weights))
                self._origins[given.weights] = origin
                made_of.update(origin.files)
        for given in outputs:
            if given.patcher is not None and given.patcher not in self._patches:
                known = made_of.union(self._origins[given.weights].files)
                self._patches[given.patcher] = tuple(file for file in dict.fromkeys(files) if file not in known)

    def origin(self, weights: Any) -> Origin | None:
        return self._origins.get(weights)

    def patches(self, patcher: Any) -> tuple[File, ...]:
        """Files that patch the model which this patcher gives, first applied first. A clone adds to its parent's."""
        found: list[File] = []
        while patcher is not None:
            found = [*self._patches.get(patcher, ()), *found]
            patcher = getattr(patcher, "parent", None)
        return tuple(dict.fromkeys(found))

    def file_at(self, path: str) -> File | None:
        """The file that a node looked up under this path."""
        return self._by_path.get(path)
