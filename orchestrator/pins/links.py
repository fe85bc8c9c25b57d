"""Links: the models of a provisioned ComfyUI, each a link into the store, put there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.errors import Conflict, InvalidRequest
from orchestrator.pins.lock import Model
from orchestrator.pins.store import ModelStore


class Links:
    """Of the ComfyUI in `folder`, an absolute path."""

    def __init__(self, folder: Path, store: ModelStore) -> None:
        self._folder = folder
        self._store = store

    def is_in_place(self, name: str, model: Model) -> bool:
        """Raises Conflict("in_the_way") when another file is."""
        path = inside(self._folder, "models", name)
        if path.is_symlink() and path.readlink() == self._store.path(model.sha256):
            return self._store.holds(model)
        try:
            found = self._store.sha256(path)
        except FileNotFoundError:
            return False
        if found != model.sha256 and not path.is_symlink():
            raise Conflict("in_the_way", f"{path} is another file than the lock says: move it away, and run this again")
        return found == model.sha256

    def link(self, name: str, model: Model) -> None:
        path = inside(self._folder, "models", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{model.sha256}.link")
        beside.unlink(missing_ok=True)
        beside.symlink_to(self._store.path(model.sha256))
        beside.replace(path)

    def unlink(self, name: str, sha256: str) -> bool:
        """Whether it was a link to this file."""
        path = inside(self._folder, "models", name)
        if path.is_symlink() and path.readlink() == self._store.path(sha256):
            path.unlink()
            return True
        return False


def inside(folder: Path, *parts: str) -> Path:
    """A path in the folder, whose own folders are no links to elsewhere. Raises InvalidRequest("outside")."""
    path = folder.joinpath(*parts)
    parent = Path(os.path.realpath(path.parent))
    if not parent.is_relative_to(folder):
        raise InvalidRequest("outside", f"{path.parent} leads out of {folder}, to {parent}: remove that link")
    return path
