"""Pinned: a worker that has a lock, held against it.

The file is read anew each time, as it may have been written anew: that, too, mends a worker that drifted.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from orchestrator.errors import Conflict, InvalidRequest
from orchestrator.pins import document, state
from orchestrator.pins.diff import Difference, differences
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.lock import Lock
from orchestrator.pins.observe import Reading, observe
from orchestrator.pins.observed import Observed
from orchestrator.pins.provision import Places
from orchestrator.pins.store import ModelStore
from orchestrator.pins.supply import Supply

NAMED = 5  # differences that a message names

_turn = threading.Lock()
"""Workers of one machine have the same models: what one reads, the next one need not."""


def read_lock(file: Path) -> Lock:
    """Raises InvalidRequest("lock_unreadable", "invalid_lock")."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidRequest("lock_unreadable", f"cannot read {file}: {reason}") from None
    return document.parse(text, str(file))


class Pinned:
    """`hashes`: the table of the digests of models on this machine, beside those that are kept for its ComfyUIs."""

    def __init__(self, file: Path, hashes: Path, mirrors: Mapping[str, str] | None = None) -> None:
        self.file = file
        self._hashes = hashes
        self._mirrors = mirrors or {}

    def check_installed(self, folder: Path, python: Path, reading: Reading) -> Lock:
        """The lock that the ComfyUI in this folder conforms to. Blocks: for a second, or for as long as it takes to
        read models that were never read. Models that can be fetched may be missing. Raises Conflict("drifted"), what
        read_lock raises and what observe raises."""
        with _turn:
            lock = read_lock(self.file)
            observed = observe(folder, python, Hashes(self._hashes), lock.models, reading)
            supply = self.supply(lock, folder)
            self.hold(lock, observed, supply.models if supply else ())
        return lock

    def supply(self, lock: Lock, folder: Path, floor_bytes: int = 0) -> Supply | None:
        """What fetches models into the ComfyUI of the folder, if that is ours to change."""
        if not state.provisioned(folder):
            return None
        places = Places(folder.resolve(), self.file.parent.resolve(), self._mirrors)
        return Supply(lock, places, ModelStore(self._hashes.parent, Hashes(self._hashes)), floor_bytes)

    def hold(self, lock: Lock, observed: Observed, later: Collection[str] = ()) -> None:
        """Raises Conflict("drifted") that names what differs, other than that these models are not there yet."""
        if found := differences(lock, observed, later):
            raise Conflict("drifted", f"it is not what {self.file.name} says: {_in_words(found, self.file)}")


def _in_words(found: Sequence[Difference], file: Path) -> str:
    named = "; ".join(difference.message for difference in found[:NAMED])
    more = len(found) - NAMED
    return f"{named}; and {more} more, which comfyfleet verify --lock {file} names" if more > 0 else named
