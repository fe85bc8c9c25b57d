"""Relay: what ComfyUI says of one run, for the client that posted its job to ComfyUI's own API.

Nothing is understood here: messages go to the store as they came, a batch at a time. How a run ended is not among
them, as that is only true once it is committed: it is told from the history, which is left in the store with the last
batch. The first messages of a run are kept, so that a client may come late; of a long run only what cannot be missed
is: which nodes began, what they made, and pictures that are results (previews are JPEG, results PNG).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.comfy.protocol import (
    NOT_KNOWN,
    Cached,
    Event,
    Executed,
    Executing,
    ExecutionStart,
    Failed,
    Interrupted,
    Preview,
    Succeeded,
    Unknown,
)
from orchestrator.errors import Busy
from orchestrator.store.port import RunKey, RunStore
from orchestrator.store.port.clients import Frame

KEPT_BYTES = 256 << 10  # of a run, whatever they say; until its client has heard it to its end
WAITING_MAX = 1000  # messages for a store that is away; beyond them only what cannot be missed


class Relay:
    """Of one run. `told`: whether there is a client, and not only a history to be left."""

    def __init__(self, store: RunStore, key: RunKey, told: bool) -> None:
        self._store = store
        self._key = key
        self._told = told
        self._waiting: list[Frame] = []
        self._bytes = 0

    def hear(self, event: Event, frame: str | bytes) -> None:
        """A message of this run, or one that names none while this run executes."""
        if not self._told or _is_ending(event) or (isinstance(event, Unknown) and event.reason != NOT_KNOWN):
            return
        needed = _is_needed(event)
        kept = needed or self._bytes + len(frame) <= KEPT_BYTES
        if kept or len(self._waiting) < WAITING_MAX:
            self._waiting.append(Frame(frame, kept))
            self._bytes += len(frame) if kept else 0

    async def pass_on(self) -> None:
        """What was heard since. Raises Superseded; a store that is away gets it the next time."""
        if self._waiting:
            await self._send(None)

    async def finish(self, history: Mapping[str, Any] | None) -> None:
        """The rest, and how it ended. Raises Superseded and Busy."""
        await self._send(history)

    async def _send(self, history: Mapping[str, Any] | None) -> None:
        batch, self._waiting = self._waiting, []  # at once, so that nobody else sends it too
        try:
            await self._store.relay(self._key, batch, history)
        except Busy:
            self._waiting = batch + self._waiting
            raise


def _is_ending(event: Event) -> bool:
    return isinstance(event, Succeeded | Interrupted) or (isinstance(event, Executing) and event.node is None)


def _is_needed(event: Event) -> bool:
    if isinstance(event, Preview):
        return event.content_type == "image/png"
    return isinstance(event, ExecutionStart | Cached | Executing | Executed | Failed)
