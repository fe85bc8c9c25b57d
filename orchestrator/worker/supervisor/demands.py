"""Demands: what fleet.yaml asks of a supervised ComfyUI beyond that it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.pins.pinned import Pinned
from orchestrator.store.port import Graph
from orchestrator.worker.supervisor.wear import Limits

NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Demands:
    """Of one worker: before it is ready, and for as long as it is used."""

    required_classes: Sequence[str] = ()
    warmup: Graph | None = None
    pinned: Pinned | None = None
    limits: Limits = NO_LIMITS
