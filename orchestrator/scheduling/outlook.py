"""Where a queued run stands: what `Outlook` tells of it, read off the index. Pure, and seldom asked."""

from __future__ import annotations

from orchestrator.domain.outlook import Awaited, Outlook
from orchestrator.scheduling import ticket as tickets
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.pool import Pool
from orchestrator.scheduling.queue import Group


def outlook(index: Index, run_id: str, now: float) -> Outlook | None:
    """None: it is not queued, or not known here yet."""
    place = index.waiting.place(tickets.number_of(run_id))
    if place is None:
        return None
    tenant, group = place.tenant, place.trait.group
    pool = index.pools[group.pool]
    fairness = pool.fairness
    return Outlook(
        tenant=tenant.name,
        weight=tenant.weight,
        portion=fairness.portion(tenant),
        had_s=tenant.had,
        level_s=fairness.level,
        allowed_s=fairness.allowance_s,
        within=place.ticket < tickets.EXCESS,
        queued=tenant.queued,
        queued_within=tenant.within,
        first=fairness.within,
        awaited=_awaited(pool, group, untried=not index.learned.knows(place.trait.profile), now=now),
    )


def _awaited(pool: Pool, group: Group, *, untried: bool, now: float) -> Awaited | None:
    """Whom the group's next run waits for, and the others behind it."""
    if group.patience is None or group.patience[0] != group.head or group.patience[1] <= now:
        return None
    worker = next((view.id for view in pool.fleet.workers.values() if group in view.awaited), None)
    return Awaited(worker, group.patience[1] - now, untried) if worker else None
