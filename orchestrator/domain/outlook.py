"""Outlook: where a queued run stands, and its tenant, as whoever dispatches sees it at this moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Awaited:
    """A worker that a run waits for although another could take it; for so many seconds at most from now on. `untried`:
    nobody knows how long such a run takes, and this worker is about to show it. Otherwise it has the run's models."""

    worker: str
    at_most_s: float
    untried: bool


@dataclass(frozen=True, slots=True)
class Outlook:
    """Accounts are in GPU-seconds by weight: equal figures are a fair share."""

    tenant: str
    weight: float
    portion: float  # of the pool, as there are now tenants with queued runs: 0.5 is half of it
    had_s: float  # the tenant's account
    level_s: float  # what accounts are measured by
    allowed_s: float  # by which they may be above that
    within: bool  # whether the run is within the tenant's share
    queued: int  # runs of the tenant
    queued_within: int
    first: int  # queued runs of all tenants that are within their shares: they go before what is beyond
    awaited: Awaited | None = None
