"""Ticket: all that is kept of a queued run, in one integer.

There may be a million queued runs: a ticket costs 64 bytes where a record costs 200, and tickets compare in the order
in which their runs should be served. From the highest bits down it holds: whether the run is beyond its tenant's
share, its standing in milliseconds, the numbers of its trait and of its tenant, and the number of the run.
"""

from __future__ import annotations

from orchestrator.domain.run import QueueEntry

# Priority shifts a run's arrival, and nothing else. A low run waits behind normal ones that arrive up to ten minutes
# after it, and behind no later one: no class can starve another, by construction. Ten minutes is more than a run takes
# and less than a person waits.
HEAD_START_S = {"high": 600.0, "normal": 0.0, "low": -600.0}
_PATIENCE_S = HEAD_START_S["high"]  # a run is due so long after its standing: one of high priority at once

_ID_BITS, _TENANT_BITS, _TRAIT_BITS, _STANDING_BITS = 128, 20, 24, 48
_TENANT_AT = _ID_BITS
_TRAIT_AT = _TENANT_AT + _TENANT_BITS
_STANDING_AT = _TRAIT_AT + _TRAIT_BITS
_ID_MASK = (1 << _ID_BITS) - 1
_TENANT_MASK = (1 << _TENANT_BITS) - 1
_TRAIT_MASK = (1 << _TRAIT_BITS) - 1
_STANDING_MASK = (1 << _STANDING_BITS) - 1
EXCESS = 1 << (_STANDING_AT + _STANDING_BITS)
"""Set in the ticket of a run that is beyond its tenant's share: it stands behind all that are not."""


def number_of(run_id: str) -> int:
    """A run id as a number. Raises ValueError if it is not a UUID."""
    return int(run_id.replace("-", ""), 16)


def standing(entry: QueueEntry, expected_s: float) -> float:
    """Priority-adjusted arrival, Unix seconds: of a run with a deadline early enough to meet it, if high is."""
    start_s = HEAD_START_S[entry.priority]
    if entry.deadline_s is not None:
        latest_s = max(0.0, entry.deadline_s - expected_s)
        start_s = max(start_s, _PATIENCE_S - latest_s)
    return entry.arrived_at - start_s


def issue(standing_s: float, trait: int, tenant: int, number: int) -> int:
    """A ticket within its tenant's share."""
    return round(standing_s * 1000) << _STANDING_AT | trait << _TRAIT_AT | tenant << _TENANT_AT | number


def number(ticket: int) -> int:
    """The number of the ticket's run."""
    return ticket & _ID_MASK


def trait(ticket: int) -> int:
    """The number of the trait that the run has."""
    return ticket >> _TRAIT_AT & _TRAIT_MASK


def tenant(ticket: int) -> int:
    """The number of the tenant on whose account it is."""
    return ticket >> _TENANT_AT & _TENANT_MASK


def run_id(ticket: int) -> str:
    """The id of the ticket's run."""
    digits = f"{ticket & _ID_MASK:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def standing_s(ticket: int) -> float:
    """Priority-adjusted arrival, Unix seconds."""
    return (ticket >> _STANDING_AT & _STANDING_MASK) / 1000
