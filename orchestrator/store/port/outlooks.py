"""Questions to whoever dispatches, which alone knows where a queued run stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.outlook import Outlook


@dataclass(frozen=True, slots=True)
class Question:
    """Where does the run stand? `id` is what its answer goes to."""

    id: str
    run_id: str


class OutlookStore(Protocol):
    """What is asked, and answered."""

    async def outlook(self, run_id: str, within_s: float) -> Outlook | None:
        """None: the run is not queued, or nobody who dispatches answered in time."""
        ...

    def questions(self) -> AsyncIterator[Question]:
        """From now on."""
        ...

    async def answer(self, question: Question, outlook: Outlook | None) -> None: ...
