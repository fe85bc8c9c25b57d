"""Pinned: a worker that has a lock, held against it.

The file is read anew each time, as it may have been written anew: that, too, mends a worker that drifted.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import Conflict, InvalidRequest
from orchestrator.pins import document
from orchestrator.pins.diff import Difference, differences
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.lock import Lock
from orchestrator.pins.observe import Reading, observe
from orchestrator.pins.observed import Observed

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
    """`hashes`: the table of the digests of models on this machine."""

    def __init__(self, file: Path, hashes: Path) -> None:
        self.file = file
        self._hashes = hashes

    def check_installed(self, folder: Path, python: Path, reading: Reading) -> Lock:
        """The lock that the ComfyUI in this folder conforms to. Blocks: for a second, or for as long as it takes to
        read models that were never read. Raises Conflict("drifted"), what read_lock raises and what observe raises."""
        with _turn:
            lock = read_lock(self.file)
            self.hold(lock, observe(folder, python, Hashes(self._hashes), lock.models, reading))
        return lock

    def hold(self, lock: Lock, observed: Observed) -> None:
        """Raises Conflict("drifted") that names what differs."""
        if found := differences(lock, observed):
            raise Conflict("drifted", f"it is not what {self.file.name} says: {_in_words(found, self.file)}")


def _in_words(found: Sequence[Difference], file: Path) -> str:
    named = "; ".join(difference.message for difference in found[:NAMED])
    more = len(found) - NAMED
    return f"{named}; and {more} more, which comfyfleet verify --lock {file} names" if more > 0 else named
