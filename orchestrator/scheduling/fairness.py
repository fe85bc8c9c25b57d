"""Fairness: what each tenant of a pool has had, in GPU-seconds, and which of its runs stand within its share.

Among tenants the order is that of arrival, as long as none gets ahead: a run is within its tenant's share while the
tenant, once its runs that stand there are done, is ahead of the one that has had least by no more than the allowance.
What is beyond stands behind everybody's, is promoted as the others catch up, and executes when nobody else can use a
worker. Seconds are divided by the tenant's weight, so that equal figures are a fair share.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from math import inf

from orchestrator.scheduling import ticket as tickets

ALLOWED_S = 60.0  # what the whole pool does in so many seconds is the allowance
KEPT = 1000  # tenants, before those that have nothing to do with the pool any more are forgotten
USUAL_WEIGHT = 0.1  # of the newest run in what a tenant's runs usually take
LOWER = {"high": ("low", "normal"), "normal": ("low",), "low": ()}  # the lowest first
VOID_SLACK = 64  # void entries that a heap may hold beyond its live ones before it is rebuilt


class Tenant:
    """One tenant in one pool."""

    __slots__ = (
        "claimed", "excess", "had", "inside", "least", "name", "number", "queued", "usual_s", "weight", "within",
    )  # fmt: skip

    def __init__(self, name: str, number: int, weight: float) -> None:
        self.name = name
        self.number = number
        self.weight = weight
        self.had = 0.0  # GPU-seconds by weight, those expected of what it has on workers among them
        self.usual_s = 0.0  # what one of its runs takes
        self.queued = 0
        self.within = 0  # of the queued ones, those within its share
        self.excess: list[int] = []  # heap of the tickets beyond it, and of some that are gone
        self.inside: dict[str, list[int]] = {}  # the tickets within it by priority, and some that are gone
        self.claimed = -1.0  # the claim with which it stands in line for a promotion
        self.least = inf  # with what it stands among those that have had least: `had`, or less; inf: it does not

    @property
    def claim(self) -> float:
        """What it will have had when its runs within the share are done."""
        return self.had + self.within * self.usual_s / self.weight

    def expect(self, seconds: float) -> None:
        """One of its runs takes so long."""
        self.usual_s += (seconds - self.usual_s) * (USUAL_WEIGHT if self.usual_s else 1.0)

    def enter(self, ticket: int, priority: str, valid: Mapping[int, int]) -> None:
        """The ticket is within the share."""
        inside = self.inside.setdefault(priority, [])
        inside.append(ticket)
        if len(inside) > 2 * self.within + VOID_SLACK:
            inside[:] = [it for it in inside if valid.get(tickets.number(it)) == it]

    def make_room(self, priority: str, valid: Mapping[int, int]) -> int | None:
        """Takes out the newest ticket within the share of the lowest priority under this one, if there is one."""
        for lower in LOWER[priority]:
            inside = self.inside.get(lower, [])
            while inside:
                ticket = inside.pop()
                if valid.get(tickets.number(ticket)) == ticket:
                    return ticket
        return None

    def excess_next(self, valid: Mapping[int, int]) -> int:
        """Takes the first of the tickets beyond the share; there is one."""
        while True:
            ticket = heapq.heappop(self.excess)
            if valid.get(tickets.number(ticket)) == ticket:
                return ticket


class Fairness:
    """See the module."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.allowance_s = ALLOWED_S  # GPU-seconds that a tenant may be ahead of the one that has had least
        self.level = 0.0  # what tenants start with, and are measured by: see _settle
        self.backlogged = 0  # tenants with queued runs
        self._weights = weights
        self._clock = 0.0  # what a tenant would have had that had its share of all since the beginning
        self._weight = 0.0  # of the tenants with queued runs
        self._kept = KEPT
        self._by_name: dict[str, Tenant] = {}
        self._by_number: list[Tenant | None] = []
        self._free: list[int] = []
        self._least: list[tuple[float, int]] = []  # heap of (least, tenant); an entry that is not so any more is void
        self._claims: list[tuple[float, int]] = []  # the same of (claimed, tenant), of tenants with excess

    def allow(self, workers: int) -> None:
        """The pool has so many workers."""
        self.allowance_s = ALLOWED_S * max(1, workers)

    def tenant(self, name: str) -> Tenant:
        found = self._by_name.get(name)
        if found is None:
            if len(self._by_name) >= self._kept:
                self._forget_idle()
            number = self._free.pop() if self._free else len(self._by_number)
            found = self._by_name[name] = Tenant(name, number, self._weights.get(name, 1.0))
            if number == len(self._by_number):
                self._by_number.append(found)
            else:
                self._by_number[number] = found
        return found

    def numbered(self, number: int) -> Tenant:
        """The tenant of a ticket of a queued run."""
        found = self._by_number[number]
        assert found is not None
        return found

    @property
    def within(self) -> int:
        """Queued runs within their tenants' shares."""
        return sum(tenant.within for tenant in self._by_name.values())

    def portion(self, tenant: Tenant) -> float:
        """What part of the pool is due to a tenant with queued runs, as others have some too."""
        return tenant.weight / self._weight

    def arrive(self, tenant: Tenant, expected_s: float) -> bool:
        """A run of this tenant is queued; answers whether it is within the share."""
        tenant.queued += 1
        if tenant.queued == 1:
            self.backlogged += 1
            self._weight += tenant.weight
            tenant.had = max(tenant.had, self.level)  # of what it did not want there is no credit
            self._be_least(tenant)
        tenant.expect(expected_s)
        # What stands beyond the share already goes first.
        within = tenant.within == tenant.queued - 1 and tenant.claim <= self.level + self.allowance_s
        tenant.within += within
        return within

    def postpone(self, tenant: Tenant, ticket: int) -> None:
        """The ticket is beyond the share."""
        heapq.heappush(tenant.excess, ticket)
        self._stand_in_line(tenant)

    def leave(self, tenant: Tenant, *, within: bool) -> None:
        """A run of this tenant is queued no more."""
        tenant.queued -= 1
        tenant.within -= within
        if tenant.queued == 0:
            self.backlogged -= 1
            self._weight = self._weight - tenant.weight if self.backlogged else 0.0
            tenant.excess.clear()
            tenant.inside.clear()
        elif tenant.within < tenant.queued:
            self._stand_in_line(tenant)
        self._settle()

    def serve(self, tenant: Tenant, expected_s: float, *, spare: bool) -> None:
        """A worker has one of its runs. `spare`: nobody could use the worker who was within the share."""
        tenant.expect(expected_s)
        self.correct(tenant, expected_s)
        if spare:
            self.level = max(self.level, tenant.had - self.allowance_s)

    def correct(self, tenant: Tenant, seconds: float) -> None:
        """It has had so many GPU-seconds more than was thought, or less."""
        tenant.had = max(0.0, tenant.had + seconds / tenant.weight)
        self._clock += seconds / (self._weight or tenant.weight)
        if tenant.queued:
            self._be_least(tenant)
            if tenant.within < tenant.queued:
                self._stand_in_line(tenant)
        self._settle()

    def promotable(self) -> Tenant | None:
        """A tenant whose next run beyond its share is within it by now, if there is one. `promoted` follows."""
        while self._claims:
            claim, number = self._claims[0]
            tenant = self._by_number[number]
            if tenant is not None and tenant.claimed == claim and tenant.within < tenant.queued:
                return tenant if claim <= self.level + self.allowance_s else None
            heapq.heappop(self._claims)
        return None

    def promoted(self, tenant: Tenant) -> None:
        tenant.within += 1
        if tenant.within < tenant.queued:
            self._stand_in_line(tenant)

    def _forget_idle(self) -> None:
        """Callers may name any tenant: those without queued runs whose account says nothing are forgotten."""
        for tenant in [it for it in self._by_name.values() if not it.queued and it.had <= self.level]:
            del self._by_name[tenant.name]
            self._by_number[tenant.number] = None
            self._free.append(tenant.number)
        self._kept = max(KEPT, 2 * len(self._by_name))

    def _stand_in_line(self, tenant: Tenant) -> None:
        claim = tenant.claim
        if tenant.claimed != claim:
            tenant.claimed = claim
            heapq.heappush(self._claims, (claim, tenant.number))
            if len(self._claims) > 2 * len(self._by_name) + VOID_SLACK:
                waiting = [it for it in self._by_name.values() if it.within < it.queued]
                self._claims = [(it.claimed, it.number) for it in waiting]
                heapq.heapify(self._claims)

    def _be_least(self, tenant: Tenant) -> None:
        """Has it stand among those that have had least. As it is served it stays where it is, until it comes first."""
        if tenant.had >= tenant.least:
            return
        tenant.least = tenant.had
        heapq.heappush(self._least, (tenant.had, tenant.number))
        if len(self._least) > 2 * len(self._by_name) + VOID_SLACK:
            self._least = [(it.least, it.number) for it in self._by_name.values() if it.least < inf]
            heapq.heapify(self._least)

    def _settle(self) -> None:
        """The level rises with the clock, and is ahead of whoever has had least by no more than the allowance. A
        tenant that nobody can serve does not hold it back for long: what others then get is spare."""
        if not self.backlogged:
            self.level = max(self.level, self._clock)
            return
        had = self._least_had()
        self._clock = max(self._clock, self.level)
        self.level = max(self.level, min(self._clock, had + self.allowance_s))

    def _least_had(self) -> float:
        """Of the tenants with queued runs; there is one."""
        while True:
            least, number = self._least[0]
            tenant = self._by_number[number]
            if tenant is None or tenant.least != least:
                heapq.heappop(self._least)
            elif not tenant.queued:
                tenant.least = inf
                heapq.heappop(self._least)
            elif tenant.had > least:
                tenant.least = tenant.had
                heapq.heapreplace(self._least, (tenant.had, number))
            else:
                return least
