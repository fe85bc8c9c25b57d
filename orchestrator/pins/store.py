"""ModelStore: model files by their SHA-256, one of each on a node, for all its ComfyUIs.

A file is in its place only when it is whole and its digest was checked; what is on its way lies in `incoming`, where
the next attempt goes on from. Files are deleted only by `collect`, which keeps what any ComfyUI of this node is
provisioned with, whoever asks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.errors import Busy, InvalidRequest
from orchestrator.pins import state
from orchestrator.pins.diff import short
from orchestrator.pins.exclusive import HeldError, held, write_atomically
from orchestrator.pins.fetching import Opened, SourceError, opened, path_of
from orchestrator.pins.hashes import Hashes, hash_file
from orchestrator.pins.lock import Model

TRIES = 5
"""Attempts in a row that bring no byte, before a source is given up."""

RETRY_S = 60.0
_BACKOFF_S = 0.5
_FICLONE = 0x40049409
"""Linux: make a file share the blocks of another, copied when either changes."""


class Reporter(Protocol):
    """Who is told what happens."""

    def step(self, words: str) -> None:
        """What is about to be done."""
        ...

    def done(self, words: str) -> None:
        """What was changed."""
        ...

    def progress(self, name: str, done: int, total: int) -> None:
        """Bytes of a file that are here."""
        ...


@dataclass(frozen=True, slots=True)
class Collected:
    """What `collect` deleted and what is left. Bytes."""

    deleted: tuple[str, ...]
    freed: int
    left: int


class ModelStore:
    """In the folder `root`: sha256/ab/<sha256>."""

    def __init__(self, root: Path, hashes: Hashes) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root.resolve()
        self._hashes = hashes

    def path(self, sha256: str) -> Path:
        """Where the file with this digest lies, or will."""
        return self._root / "sha256" / sha256[:2] / sha256

    def sha256(self, path: Path) -> str:
        """Of any file. Raises what Hashes.sha256 raises."""
        return self._hashes.sha256(path)

    @contextmanager
    def used_by(self, folder: Path, reporter: Reporter) -> Iterator[None]:
        """While this lasts nothing is deleted; afterwards nothing that the folder is provisioned with."""

        def waiting(holder: str) -> None:
            reporter.step(f"waiting for {holder}, which deletes unused models")

        with held(self._root / ".lock", shared=True, waiting=waiting):
            name = hashlib.sha256(os.fsencode(folder)).hexdigest()
            write_atomically(self._root / "users" / name, os.fsencode(folder))
            yield

    def holds(self, model: Model) -> bool:
        """Whether the file is here and whole; a damaged one is removed. Notes that it is used."""
        path = self.path(model.sha256)
        try:
            whole = self._hashes.sha256(path) == model.sha256
        except FileNotFoundError:
            return False
        if not whole:
            path.unlink()
            return False
        # The time of access is ours to set, and the kernel's when a ComfyUI reads it; that of modification must stay.
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return True

    def fetch(self, name: str, model: Model, sources: Sequence[str], base: Path, reporter: Reporter) -> None:
        """Gets the file from the first source that has it; goes on where an earlier attempt stopped.

        Raises InvalidRequest("model_without_source") and Busy("model_unavailable"), which names each source's fault.
        """

        def waiting(holder: str) -> None:
            reporter.step(f"waiting for {holder}, which fetches model {name} too")

        with held(self._root / "incoming" / f"{model.sha256}.lock", waiting=waiting):
            if self.holds(model):
                return
            if not sources:
                raise InvalidRequest(
                    "model_without_source",
                    f"model {name} is not in {self._root}, and the lock names no source for it: write where it can be "
                    f"fetched from into its `sources`",
                )
            faults: list[str] = []
            for source in sources:
                try:
                    self._fetch(name, model, source, base, reporter)
                    return
                except SourceError as error:
                    faults.append(f"{source}: {error}")
        raise Busy("model_unavailable", f"model {name} cannot be fetched: {'; '.join(faults)}", RETRY_S)

    def check_room(self, models: Iterable[Model], floor_bytes: int = 0) -> None:
        """Raises Busy("disk_full") when these could not all be fetched with so many bytes left free."""
        missing = {model.sha256: model.bytes for model in models if not self.holds(model)}
        begun = sum(_bytes_in(self._part(digest)) for digest in missing)
        needed, free = sum(missing.values()) - begun, max(0, shutil.disk_usage(self._root).free - floor_bytes)
        if needed > free:
            kept, cure = "", "name another --store"
            if floor_bytes:
                kept = f" beside the {floor_bytes / 1e9:.1f} GB that are to stay free"
                cure = "lower supervision.min_free_gb"
            raise Busy(
                "disk_full",
                f"the models that are missing have {needed / 1e9:.1f} GB, and {self._root} has room for "
                f"{free / 1e9:.1f} GB{kept}: free some (comfyfleet gc deletes unused models), or {cure}",
                RETRY_S,
            )

    def collect(self, keep: Collection[str], max_bytes: int) -> Collected:
        """Deletes least recently used files until there are at most `max_bytes`, but none with a digest to keep, and
        none that a ComfyUI of this node is provisioned with. Raises Busy("store_in_use")."""
        try:
            with held(self._root / ".lock"):
                return self._collect(frozenset(keep) | self._in_use(), max_bytes)
        except HeldError:
            message = f"a ComfyUI is being provisioned from {self._root}: try again when that has ended"
            raise Busy("store_in_use", message, RETRY_S) from None

    # --- fetching ---

    def _fetch(self, name: str, model: Model, source: str, base: Path, reporter: Reporter) -> None:
        part = self._part(model.sha256)
        begun = _bytes_in(part) > 0
        digest = self._complete(name, model, source, base, reporter)
        if digest != model.sha256 and begun:  # what came before may be of another content
            part.unlink()
            digest = self._complete(name, model, source, base, reporter)
        if digest != model.sha256:
            part.unlink()
            raise SourceError(f"it has sha256 {short(digest)}, the lock says {short(model.sha256)}", again=False)
        self._publish(part, model.sha256)

    def _complete(self, name: str, model: Model, source: str, base: Path, reporter: Reporter) -> str:
        """Has all bytes in the part, and answers their digest."""
        part, path, tries = self._part(model.sha256), path_of(source, base), 0
        part.touch()
        if path is not None and not _bytes_in(part) and _clone(path, part):
            return hash_file(part)
        while (have := _bytes_in(part)) < model.bytes:
            try:
                with opened(source, base, have) as content:
                    _append(part, content, model.bytes, lambda done: reporter.progress(name, done, model.bytes))
            except SourceError as error:
                tries = 1 if _bytes_in(part) > have else tries + 1
                if not error.again or tries == TRIES:
                    raise
                time.sleep(_BACKOFF_S * 2**tries)
            else:
                if _bytes_in(part) <= have:
                    raise SourceError(f"it ends after {have} of {model.bytes} bytes", again=False)
        return hash_file(part)

    def _part(self, digest: str) -> Path:
        return self._root / "incoming" / f"{digest}.part"

    def _publish(self, part: Path, digest: str) -> None:
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o444)
        part.replace(target)
        self._hashes.remember(target, digest)

    # --- collecting ---

    def _in_use(self) -> frozenset[str]:
        """The digests that ComfyUIs of this node are provisioned with; forgets those that are gone."""
        found: set[str] = set()
        for user in (self._root / "users").glob("*"):
            models = state.read(Path(os.fsdecode(user.read_bytes()))).models
            found.update(models.values())
            if not models:
                user.unlink()
        return frozenset(found)

    def _collect(self, keep: Collection[str], max_bytes: int) -> Collected:
        for path in (self._root / "incoming").glob("*"):
            if path.suffix == ".lock" or path.stem not in keep:
                path.unlink()
        files = [(path.stat(), path) for path in self._root.glob("sha256/*/*")]
        left, freed, deleted = sum(status.st_size for status, _ in files), 0, list[str]()
        for status, path in sorted(files, key=lambda file: file[0].st_atime_ns):
            if left <= max_bytes:
                break
            if path.name not in keep:
                path.unlink()
                deleted.append(path.name)
                left, freed = left - status.st_size, freed + status.st_size
        return Collected(tuple(deleted), freed, left)


def _clone(source: Path, target: Path) -> bool:
    """A copy at no cost, where the file system can. It shares blocks, not the file: neither sees the other change."""
    with suppress(OSError), source.open("rb") as read, target.open("wb") as written:
        fcntl.ioctl(written.fileno(), _FICLONE, read.fileno())
        return True
    return False


def _bytes_in(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _append(part: Path, content: Opened, limit: int, progress: Callable[[int], None]) -> None:
    """Writes what comes to where it belongs in the part; stops when that is more than it should be."""
    with part.open("r+b") as file:
        file.truncate(content.start)
        file.seek(content.start)
        for block in content.blocks:
            file.write(block)
            progress(file.tell())
            if file.tell() > limit:
                raise SourceError(f"it has more than the {limit} bytes that the lock says", again=False)
