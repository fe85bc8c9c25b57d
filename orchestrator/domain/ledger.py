"""Ledger: where every second of every worker went, from its registration until it is down.

The store books it by the hour (store/lua/_ledger.lua): to a run when that ends, else as unused in the worker's state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a second went into. The first ones are a job's, the others nobody's."""

    LOAD = "load"  # of models, as it is estimated
    EXECUTE = "execute"
    SCORE = "score"  # of candidates
    RERUN = "rerun"  # candidates that were tried since too few were good, with all that they took
    DISCARDED = "discarded"  # first candidates that nobody got, with all that they took
    LOST = "lost"  # runs whose worker went away or misbehaved: they were tried again
    FAILED = "failed"
    CANCELED = "canceled"
    IDLE = "idle"  # ready, and nothing executes; warm-ups too
    STARTING = "starting"
    DRAINING = "draining"
    RECYCLING = "recycling"
    QUARANTINED = "quarantined"


UNUSED = frozenset({Kind.IDLE, Kind.STARTING, Kind.DRAINING, Kind.RECYCLING, Kind.QUARANTINED})


@dataclass(frozen=True, slots=True)
class Entry:
    """Seconds that have all of this in common. `workflow`, `version` and `tenant` are empty where no job had them;
    raw graphs are taken together. `rate`: dollars an hour; None: nobody said."""

    workflow: str
    version: str
    tenant: str
    pool: str
    gpu: str
    rate: float | None
    worker: str
    kind: Kind
    seconds: float

    @property
    def dollars(self) -> float:
        return self.seconds * (self.rate or 0.0) / 3600
