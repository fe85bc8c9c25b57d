"""What the simulation asks of a policy: it is fed as the dispatcher feeds its index, and says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.needs import ModelRef
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Worker
from orchestrator.scheduling.models import Contents, Offer
from orchestrator.store.port import RunEnd


@dataclass(frozen=True, slots=True)
class Orders:
    """`placements`: run ids and the workers that get them. `staging`: what workers are to bring from disk to RAM from
    now on, replacing what they were told before; `fetching`: the same from the network to disk. `wake_at`: when to ask
    again if nothing happens before."""

    placements: Sequence[tuple[str, str]] = ()
    staging: Sequence[tuple[str, Sequence[ModelRef]]] = ()
    fetching: Sequence[tuple[str, Sequence[ModelRef]]] = ()
    wake_at: float | None = None


class Policy(Protocol):
    """`free_loads`: in its world loading takes no time; only the reference is granted that."""

    name: str
    free_loads: bool

    def worker(self, worker: Worker, offer: Offer, contents: Contents, now: float) -> None:
        """A worker came, or its state changed, or what it has on its disk."""
        ...

    def queued(self, entry: QueueEntry, now: float) -> None: ...

    def started(self, run_id: str, worker_id: str, now: float) -> None: ...

    def ended(self, entry: QueueEntry, worker_id: str, end: RunEnd, now: float) -> None: ...

    def decide(self, now: float) -> Orders:
        """What it orders is done at once."""
        ...
