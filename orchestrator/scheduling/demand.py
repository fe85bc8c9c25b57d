"""Demand: how many workers each pool should have for what it has to do now, for whoever starts machines. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from orchestrator.scheduling.index import Index

BEGIN_WITHIN_S = 60.0
"""What waits should have begun after so long: about the time in which a machine can be had at all."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Of one pool. `queued_s`: expected GPU-seconds of what waits; `busy`: workers that have runs."""

    queued_s: float
    busy: int

    @property
    def workers(self) -> int:
        """None are wanted where there is nothing to do: a floor is for whoever scales to set."""
        return self.busy + ceil(self.queued_s / BEGIN_WITHIN_S)


def demands(index: Index) -> Mapping[str, Demand]:
    """By pool. It goes over the groups of the queue, not over its runs."""
    return {name: _demand(index, name) for name in index.pools}


def _demand(index: Index, name: str) -> Demand:
    pool = index.pools[name]
    queued_s = sum(
        trait.count * index.learned.execute_s(trait.profile, "")
        for group in pool.queue.line
        for trait in group.traits()
    )
    return Demand(queued_s, sum(bool(view.held) for view in pool.fleet.workers.values()))
