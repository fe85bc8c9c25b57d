"""What the workers' time came to, and who had it."""

from __future__ import annotations

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.api.fleet.views.times import iso
from orchestrator.controller.costs import Bill, Sum


@described
class AmountView(TypedDict):
    seconds: float
    dollars: float


@described
class SumView(AmountView):
    unpriced_s: float
    """Seconds of workers whose GPU has no rate: they count no dollars."""
    kinds: dict[str, AmountView]
    """load, execute, score; rerun, discarded, lost, failed, canceled; unused: idle, starting, draining, recycling,
    quarantined. By label: jobs, for all of a job's."""


@described
class CostRowView(SumView):
    key: str | None
    """null: what has no such thing, as the unused time has no workflow."""


@described
class CostsView(TypedDict):
    group_by: str
    since: str
    """Whole hours are told: the beginning of the first."""
    until: str
    rows: list[CostRowView]
    """The dearest first."""
    total: SumView
    """Seconds of all workers, from registration to being down, and what they cost."""


def costs_view(group_by: str, since: float, until: float, bill: Bill) -> CostsView:
    rows: list[CostRowView] = [{"key": key, **_sum(part)} for key, part in bill.groups.items()]
    rows.sort(key=lambda row: (row["key"] is None, -row["dollars"], -row["seconds"]))
    return {"group_by": group_by, "since": iso(since), "until": iso(until), "rows": rows, "total": _sum(bill.total)}


def _sum(part: Sum) -> SumView:
    return {
        "seconds": round(part.seconds, 3),
        "dollars": round(part.dollars, 6),
        "unpriced_s": round(part.unpriced_s, 3),
        "kinds": {
            kind: {"seconds": round(seconds, 3), "dollars": round(dollars, 6)}
            for kind, (seconds, dollars) in part.kinds.items()
        },
    }
