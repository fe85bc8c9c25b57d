"""Supply: fetches single models of a lock into a ComfyUI that provision made, while that is used.

A model is in its place only when it is whole and its digest was checked. What was fetched of it before is not fetched
again, whoever began: provision, or an earlier agent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.pins import state
from orchestrator.pins.exclusive import HeldError, held
from orchestrator.pins.links import Links
from orchestrator.pins.lock import Lock, Model
from orchestrator.pins.provision import Places, disk_in_words
from orchestrator.pins.sources import mirrored
from orchestrator.pins.state import PRIVATE
from orchestrator.pins.store import ModelStore

POLL_S = 0.5
_turn = threading.Lock()
"""Workers of one agent may share a folder."""


class Supply:
    """`models`: those that have a source, by "folder/name". The disk keeps `floor_bytes` free."""

    def __init__(self, lock: Lock, places: Places, store: ModelStore, floor_bytes: int) -> None:
        self.models = {name: model for name, model in lock.models.items() if model.sources}
        self._places = places
        self._store = store
        self._floor_bytes = floor_bytes
        self._links = Links(places.folder, store)

    def fetch(self, name: str, go_on: Callable[[], None]) -> None:
        """Has the model be in its place. Blocks for as long as that takes; `go_on` is called again and again meanwhile,
        and may raise to end it. Raises what provision raises."""
        model = self.models[name]

        def heed() -> None:
            go_on()
            self._store.check_room([model], self._floor_bytes)

        reporter = _Heeding(heed)
        with disk_in_words(self._places.folder), self._store.used_by(self._places.folder, reporter):
            if self._links.is_in_place(name, model):
                return
            self._store.check_room([model], self._floor_bytes)
            sources = [mirrored(source, self._places.mirrors) for source in model.sources]
            self._store.fetch(name, model, sources, self._places.base, reporter)
            while not self._linked(name, model):
                heed()
                time.sleep(POLL_S)

    def _linked(self, name: str, model: Model) -> bool:
        """False while the folder is being provisioned."""
        folder = self._places.folder
        try:
            with _turn, held(folder / PRIVATE / "lock"):
                made = state.read(folder)
                state.write(folder, replace(made, models={**made.models, name: model.sha256}))  # gc is to keep it
                self._links.link(name, model)
        except HeldError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Heeding:
    """A Reporter that tells nobody."""

    go_on: Callable[[], None]

    def step(self, words: str) -> None:
        self.go_on()

    def done(self, words: str) -> None:
        self.go_on()

    def progress(self, name: str, done: int, total: int) -> None:
        self.go_on()
