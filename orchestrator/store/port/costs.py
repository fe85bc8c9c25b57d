"""What is asked of the store about seconds and dollars: a part of the port of its own, as no job needs it to run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from orchestrator.domain.ledger import Entry
from orchestrator.domain.sample import Sample


class CostStore(Protocol):
    """Where the seconds of the workers went. What executes now is booked when it ends, the rest within seconds."""

    def ledger(self, since: float, until: float) -> AsyncIterator[Sequence[Entry]]:
        """Of the whole hours (Unix seconds, UTC) that have a part of that time, one after the other."""
        ...

    async def samples(self, workflow: str, version: int) -> Sequence[Sample]:
        """What the last runs of it took, the newest first."""
        ...

    async def spent(self) -> Sequence[Entry]:
        """Since the fleet began, and only ever more: by workflow, pool, GPU, rate and kind; DISCARDED stays with what
        it was taken for first."""
        ...
