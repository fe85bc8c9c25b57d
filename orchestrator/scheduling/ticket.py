"""Ticket: a run's place in the line and its name, in one integer.

There may be a million queued runs, so each is two integers and a reference: a ticket costs 48 bytes where a record
costs 200, and tickets compare in the order in which their runs should be served.
"""

from __future__ import annotations

from orchestrator.domain.run import QueueEntry

# Priority shifts a run's arrival, and nothing else. A low run waits behind normal ones that arrive up to ten minutes
# after it, and behind no later one: no class can starve another, by construction. Ten minutes is more than a run takes
# and less than a person waits.
HEAD_START_S = {"high": 600.0, "normal": 0.0, "low": -600.0}

_ID_BITS = 128
_ID_MASK = (1 << _ID_BITS) - 1


def number_of(run_id: str) -> int:
    """A run id as a number. Raises ValueError if it is not a UUID."""
    return int(run_id.replace("-", ""), 16)


def issue(entry: QueueEntry) -> int:
    """The entry's ticket: its priority-adjusted arrival in milliseconds above its run's number."""
    standing_ms = round((entry.arrived_at - HEAD_START_S[entry.priority]) * 1000)
    return standing_ms << _ID_BITS | number_of(entry.run_id)


def number(ticket: int) -> int:
    """The number of the ticket's run."""
    return ticket & _ID_MASK


def run_id(ticket: int) -> str:
    """The id of the ticket's run."""
    digits = f"{ticket & _ID_MASK:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def standing_s(ticket: int) -> float:
    """Priority-adjusted arrival, Unix seconds."""
    return (ticket >> _ID_BITS) / 1000
