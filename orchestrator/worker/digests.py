"""What a worker's model files are: sizes as it lists them, digests from its lock and, as they come, its node pack.

Two workers may have different files of one name, and only their digests tell. A library of models takes hours to read,
so nothing is asked for ahead: what a run used here is read once more, in the background, while the page cache has it.
"""

from __future__ import annotations

import logging
from asyncio import Event, sleep
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

from orchestrator.comfy.client import ComfyClient
from orchestrator.domain.needs import Content, ModelRef
from orchestrator.errors import InvalidRequest, WorkerFault
from orchestrator.pins import inventory
from orchestrator.pins.observed import SeenModel
from orchestrator.store.port import Contents
from orchestrator.worker.backoff import insist

log = logging.getLogger(__name__)

POLL_S = 1.0  # at first; twice as long each time, as an answer costs ComfyUI up to some seconds
POLL_MAX_S = 60.0


class ModelDigests:
    """Of one ComfyUI. `contents`: what is known by now."""

    def __init__(
        self, client: ComfyClient, sizes: Mapping[ModelRef, int], locked: Mapping[str, str], remote: Contents
    ) -> None:
        self._client = client
        self._locked = {ModelRef.at(name): sha256 for name, sha256 in locked.items()}
        there = {ref: Content(size, self._locked.get(ref)) for ref, size in sizes.items()}
        self.contents: Contents = {**there, **remote}
        self._used: set[str] = set()  # whose digest is worth reading the file for
        self._more = Event()

    def used(self, models: Iterable[ModelRef]) -> None:
        """A run used these."""
        unknown = {ref.path for ref in models if (known := self.contents.get(ref)) and known.sha256 is None}
        if unknown - self._used:
            self._used |= unknown
            self._more.set()

    async def run(self, tell: Callable[[], Awaitable[None]], doubt: Callable[[], None]) -> None:
        """Has `tell` tell `contents` whenever more is known; returns where nobody can say more, without a node pack."""
        asked: set[str] = set()
        pause_s = POLL_S
        while True:
            new, self._more = self._used - asked, Event()
            asked |= new
            try:
                document = await insist(partial(self._client.inventory, sorted(new)), doubt)
                seen = None if document is None else inventory.parse(document).models
            except (InvalidRequest, WorkerFault) as error:
                log.warning("%s: digests of its models stay unknown: %s", self._client.url, error.message)
                return
            if seen is None:
                return
            if (contents := self._completed(seen)) != self.contents:
                self.contents = contents
                await tell()
            if inventory.unhashed(document, self._used):
                await sleep(pause_s)
                pause_s = min(POLL_MAX_S, pause_s * 2)
            else:
                await self._more.wait()
                pause_s = POLL_S

    def _completed(self, seen: Mapping[str, SeenModel]) -> Contents:
        found = {ModelRef.at(name): model for name, model in seen.items()}
        told = {ref: Content(model.bytes, model.sha256 or self._locked.get(ref)) for ref, model in found.items()}
        return {**self.contents, **told}
