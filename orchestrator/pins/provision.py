"""Provision: has a folder be the ComfyUI that a lock describes.

Every step looks at what is there, does what is missing, and is done only when that was checked. So a second run
changes nothing and is quick, and one that was interrupted goes on where it was. Nothing that a person put there is
overwritten: then it stops and says what is in the way.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import Busy, Conflict
from orchestrator.pins import environment, git, state
from orchestrator.pins.exclusive import HeldError, held
from orchestrator.pins.links import Links, inside
from orchestrator.pins.lock import Checkout, Lock
from orchestrator.pins.sources import is_path, mirrored
from orchestrator.pins.state import PRIVATE, State
from orchestrator.pins.store import ModelStore, Reporter

RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are. Relative sources are relative to `base`; `python` is what environments are made with."""

    folder: Path
    base: Path
    mirrors: Mapping[str, str]
    python: Path | None = None


def provision(lock: Lock, places: Places, store: ModelStore, reporter: Reporter, *, models: bool = True) -> int:
    """Returns how many things had to be changed. Without `models` those are left to an agent, for when runs need them.
    Raises FleetError: see what git, environment and store raise, and Conflict("provision_running", "folder_not_ours",
    "in_the_way"), Busy("disk_full", "disk_unusable")."""
    folder = places.folder.resolve()
    places = replace(places, folder=folder, base=places.base.resolve())
    with disk_in_words(folder):
        _claim(folder)
        with _alone(folder) as hold, store.used_by(folder, reporter):
            return _Provision(lock, places, store, reporter, (hold,)).run(models)


@contextmanager
def disk_in_words(folder: Path) -> Iterator[None]:
    """Errors of the disk, in words that say what to do."""
    try:
        yield
    except OSError as error:
        place = error.filename or folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"no space left for {place}: free some (comfyfleet gc deletes unused models), then run this again"
            raise Busy("disk_full", message, RETRY_S) from error
        message = f"cannot use {place} ({error.strerror}): check the disk, its owner and what lies there"
        raise Busy("disk_unusable", message, RETRY_S) from error


def _claim(folder: Path) -> None:
    if folder.is_dir() and not (folder / PRIVATE).exists() and any(folder.iterdir()):
        raise Conflict("folder_not_ours", f"{folder} holds what provision did not make: name an empty or new folder")


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Yields the lock, for git and pip to inherit: were we killed, they hold on to it until they have ended."""
    try:
        with held(folder / PRIVATE / "lock") as lock:
            yield lock
    except HeldError as error:
        raise Conflict(
            "provision_running", f"{folder} is being provisioned by {error}, or git or pip that it started: wait for it"
        ) from None


class _Provision:
    """One run of it, alone in the folder."""

    def __init__(self, lock: Lock, places: Places, store: ModelStore, reporter: Reporter, hold: Sequence[int]) -> None:
        self._lock, self._places, self._store, self._reporter, self._hold = lock, places, store, reporter, hold
        self._folder = places.folder
        self._links = Links(places.folder, store)
        self._removed = self._folder / PRIVATE / "removed"
        self._changes = 0

    def run(self, models: bool) -> int:
        lock, before = self._lock, state.read(self._folder)
        digests = {name: model.sha256 for name, model in lock.models.items()}
        made = State(lock.digest if models else None, tuple(lock.node_packs), digests)
        # What is about to be made is ours from now on, and what was made before until it is removed.
        both = State(None, tuple({*before.node_packs, *lock.node_packs}), {**before.models, **digests})
        if before != made:
            state.write(self._folder, both)
        self._checkout("ComfyUI", lock.comfyui, self._folder)
        for name, pack in lock.node_packs.items():
            self._checkout(f"node pack {name}", pack, self._own("custom_nodes", name))
        self._remove_packs(before)
        self._environment()
        if models:
            self._models()
        self._remove_models(before)
        if before != made:
            state.write(self._folder, made)
        return self._changes

    def _done(self, words: str) -> None:
        self._changes += 1
        self._reporter.done(words)

    # --- code ---

    def _checkout(self, subject: str, pin: Checkout, folder: Path) -> None:
        address = mirrored(pin.repo, self._places.mirrors)
        address = str(self._places.base / address) if is_path(address) else address
        self._reporter.step(f"looking at {subject}")
        if git.check_out(folder, pin, address, self._hold):
            self._done(f"{subject} is at {pin.commit}, from {address}")

    def _remove_packs(self, before: State) -> None:
        """Those that an earlier lock named, if nobody edited them; verify names what stays."""
        if self._removed.exists():
            shutil.rmtree(self._removed)
        for name in sorted(set(before.node_packs) - self._lock.node_packs.keys()):
            folder = self._own("custom_nodes", name)
            seen = git.look(folder)
            if seen and seen.edited == "":
                self._removed.mkdir()
                folder.rename(self._removed / name)
                shutil.rmtree(self._removed)
                self._done(f"node pack {name} is removed, as the lock no longer names it")

    def _environment(self) -> None:
        packages = f"Python {self._lock.python} with {len(self._lock.packages)} packages"
        self._reporter.step(f"looking at {packages}")
        if environment.provide(self._own(environment.FOLDER), self._lock, self._places.python, self._hold):
            self._done(f"{packages} is in {environment.FOLDER}")

    # --- models ---

    def _models(self) -> None:
        missing = {name: model for name, model in self._lock.models.items() if not self._links.is_in_place(name, model)}
        self._store.check_room(missing.values())
        for name, model in missing.items():
            sources = [mirrored(source, self._places.mirrors) for source in model.sources]
            self._reporter.step(f"looking at model {name}")
            self._store.fetch(name, model, sources, self._places.base, self._reporter)
            self._links.link(name, model)
            self._done(f"model {name} is linked")

    def _remove_models(self, before: State) -> None:
        for name in sorted(before.models.keys() - self._lock.models.keys()):
            if self._links.unlink(name, before.models[name]):
                self._done(f"model {name} is unlinked, as the lock no longer names it")

    def _own(self, *parts: str) -> Path:
        """Such a path that is itself no link, either: what it names is ours to change."""
        path = inside(self._folder, *parts)
        if path.is_symlink():
            raise Conflict("in_the_way", f"{path} is a link to {path.readlink()}: remove it, and run this again")
        return path
