"""The queued runs of all pools, by number: what each is, and on whose account.

A run enters the line of its pool within its tenant's share or beyond it, and gets a new ticket when it is promoted:
of the tickets that heaps hold, the one that stands here is valid.
"""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.scheduling import ticket as tickets
from orchestrator.scheduling.fairness import Tenant
from orchestrator.scheduling.pool import Pool
from orchestrator.scheduling.queue import Trait


class Place(NamedTuple):
    """All there is to know of a queued run."""

    ticket: int
    trait: Trait
    tenant: Tenant


class Waiting:
    """See the module."""

    def __init__(self, pools: dict[str, Pool]) -> None:
        self._pools = pools
        self._tickets: dict[int, int] = {}
        self._traits: list[Trait | None] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, number: int) -> bool:
        return number in self._tickets

    def trait(self, ticket: int) -> Trait:
        """Of a queued run."""
        found = self._traits[tickets.trait(ticket)]
        assert found is not None
        return found

    def add(self, number: int, trait: Trait, tenant: Tenant, standing_s: float, expected_s: float) -> None:
        """A run is queued."""
        if not trait.count:
            self._enlist(trait)
        pool = self._pools[trait.group.pool]
        ticket = tickets.issue(standing_s, trait.number, tenant.number, number)
        within = pool.fairness.arrive(tenant, expected_s)
        if not within and (lesser := tenant.make_room(trait.priority, self._tickets)) is not None:
            pool.fairness.postpone(tenant, self._reissue(pool, lesser, lesser + tickets.EXCESS))
            within = True
        if within:
            tenant.enter(ticket, trait.priority, self._tickets)
        else:
            ticket += tickets.EXCESS
            pool.fairness.postpone(tenant, ticket)
        self._tickets[number] = ticket
        trait.group.add(ticket, trait)
        pool.queue.settle(trait.group, self._tickets)

    def place(self, number: int) -> Place | None:
        """Of a run, if it is queued."""
        ticket = self._tickets.get(number)
        return None if ticket is None else self._place(ticket)

    def leave(self, number: int) -> Place | None:
        """A run is queued no more, if it was."""
        ticket = self._tickets.pop(number, None)
        if ticket is None:
            return None
        place = self._place(ticket)
        trait, group = place.trait, place.trait.group
        pool = self._pools[group.pool]
        group.remove(trait, self._tickets)
        if not trait.count:
            self._traits[trait.number] = None
            self._free.append(trait.number)
        pool.queue.settle(group, self._tickets)
        pool.fairness.leave(place.tenant, within=ticket < tickets.EXCESS)
        return place

    def promote(self, pool: Pool) -> None:
        """Has the runs that are within their tenants' shares by now stand there."""
        while (tenant := pool.fairness.promotable()) is not None:
            ticket = tenant.excess_next(self._tickets)
            promoted = self._reissue(pool, ticket, ticket - tickets.EXCESS)
            tenant.enter(promoted, self.trait(promoted).priority, self._tickets)
            pool.fairness.promoted(tenant)

    def _place(self, ticket: int) -> Place:
        trait = self.trait(ticket)
        fairness = self._pools[trait.group.pool].fairness
        return Place(ticket, trait, fairness.numbered(tickets.tenant(ticket)))

    def _reissue(self, pool: Pool, was: int, ticket: int) -> int:
        self._tickets[tickets.number(ticket)] = ticket
        group = self.trait(was).group
        group.replace(ticket, self._tickets)
        pool.queue.settle(group, self._tickets)
        pool.refresh(group)
        return ticket

    def _enlist(self, trait: Trait) -> None:
        if self._free:
            trait.number = self._free.pop()
            self._traits[trait.number] = trait
        else:
            trait.number = len(self._traits)
            self._traits.append(trait)
