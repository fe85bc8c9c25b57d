"""decide(): which queued runs go to which open workers now, and why. See README.md for the flow.

The scarcer side chooses. When workers are scarce, each one that is open takes, among the runs that came first, the one
that asks for the least loading. When runs are scarce, each takes the worker that would finish it soonest, a busy one
included: then it waits for that one, within bounds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from math import inf
from typing import Any, NamedTuple

from orchestrator.scheduling import ticket as tickets
from orchestrator.scheduling.cost import Cost, cost, evict_s
from orchestrator.scheduling.explain import Explanation, explain
from orchestrator.scheduling.feasible import fits, refusal
from orchestrator.scheduling.fleet import WorkerView
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.infeasible import Refusal, review
from orchestrator.scheduling.pool import Pool
from orchestrator.scheduling.prefetch import Prefetch, prefetch
from orchestrator.scheduling.queue import Group

AGE_WEIGHT = 0.05  # seconds of loading that are accepted for serving a run that is a second older
SIBLINGS = 2  # heads looked at among the groups that share a resident model
AT_ONCE = 256  # assignments in one plan: the loop that carries it out has other things to do as well


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator may tune; see SchedulingSettings and TenantSettings."""

    overtake_s: float = 120.0
    heads: int = 16
    weights: Mapping[str, float] = field(default_factory=dict[str, float])  # of tenants, where they are not 1


UNTUNED = Rules()


class Placement(NamedTuple):
    """One run for one worker. The index has it booked already."""

    run_id: str
    attempt: int
    worker: str
    explanation: Explanation

    @property
    def reasons(self) -> Mapping[str, Any]:
        """Why this worker and not the others, JSON-ready."""
        return self.explanation.reasons()


class Plan(NamedTuple):
    """`wake_at`: when to decide again if nothing happens before; None: not before something happens."""

    placements: tuple[Placement, ...]
    refusals: tuple[Refusal, ...]
    wake_at: float | None
    prefetch: tuple[Prefetch, ...] = ()


def decide(index: Index, now: float, rules: Rules | None = None) -> Plan:
    """What to do now. It is booked in the index as done: whoever cannot carry it out says so to the index.

    The same history of the index gives the same plan.
    """
    index.timers.run(now)
    placements: list[Placement] = []
    refusals: list[Refusal] = []
    stirred, index.stirred = index.stirred, {}
    for pool in stirred:
        if pool.review_due:
            pool.review_due = False
            refusals += review(index, pool, now)
        if pool.fresh_workers or pool.fresh_groups:
            _Match(index, pool, now, rules or UNTUNED, placements).run()
        if pool.fresh_workers or pool.fresh_groups:
            index.stirred[pool] = None  # the plan is full
    more = len(placements) >= AT_ONCE
    return Plan(tuple(placements), tuple(refusals), now if more else index.timers.next_at, _prefetch(index, placements))


def _prefetch(index: Index, placements: list[Placement]) -> tuple[Prefetch, ...]:
    orders: list[Prefetch] = []
    for worker in dict.fromkeys([placement.worker for placement in placements]):
        view = index.view(worker)
        order = prefetch(index.pools[view.info.pool], view)
        if order is not None:
            orders.append(order)
    return tuple(orders)


class _Match:
    """One pool's part of a decision."""

    def __init__(self, index: Index, pool: Pool, now: float, rules: Rules, placements: list[Placement]) -> None:
        self._index = index
        self._pool = pool
        self._line = pool.queue.line
        self._fleet = pool.fleet
        self._now = now
        self._rules = rules
        self._placements = placements

    def run(self) -> None:
        if self._workers_are_scarce():
            self._serve_workers()
            self._serve_groups()
        else:
            self._serve_groups()
            self._serve_workers()

    def _workers_are_scarce(self) -> bool:
        """Or there are groups that a fresh worker has to look at before a fresh group may have it."""
        if len(self._fleet.open) <= len(self._line):
            return True
        return sum(group.head is not None for group in self._pool.fresh_groups) < len(self._line)

    def _serve_workers(self) -> None:
        """Each fresh worker takes runs while it is open and there is one for it."""
        fresh = self._pool.fresh_workers
        while fresh and self._has_room():
            view = next(iter(fresh))
            group = self._choose_group(view) if view in self._fleet.open else None
            if group is None:
                del fresh[view]
            else:
                self._assign(group, view)

    def _serve_groups(self) -> None:
        """Each fresh group's runs take workers while there are some for them: the oldest run of all chooses first."""
        fresh = self._pool.fresh_groups
        while fresh and self._fleet.open and self._has_room():
            heads = [(group.next, group) for group in fresh if group.head is not None]
            fresh.clear()
            heapq.heapify(heads)
            while heads and self._fleet.open and self._has_room():
                _, group = heapq.heappop(heads)
                view = self._choose_worker(group)
                if view is not None:
                    self._assign(group, view)
                    if group.head is not None:
                        heapq.heappush(heads, (group.next, group))
            for _, group in heads:
                self._pool.refresh(group)
        if not self._fleet.open:
            fresh.clear()  # whichever worker opens next looks at all groups

    def _choose_group(self, view: WorkerView) -> Group | None:
        """The group whose next run this worker should take: the least loading among those that may overtake."""
        oldest = fits(view, self._line, self._fleet, self._rules.heads)
        found = self._first(view, oldest)
        if found is None:
            return None
        first, least, younger = found
        best = first
        memory, vram, pace = view.memory, view.memory.vram, self._index.learned.load_pace(view.id)
        outranked = not first.excess and self._pool.fairness.backlogged > 1
        for group in chain(self._residents(view), younger):
            later_s = group.standing_s - first.standing_s
            score = later_s * AGE_WEIGHT
            warm = group.anchor in vram
            at_least = score if warm else score + group.reload_s * pace
            if at_least >= least or later_s > self._rules.overtake_s or group is first or (outranked and group.excess):
                continue
            load_s = memory.load_s(group.files, (least - score) / pace) * pace
            score += load_s
            if score >= least:
                continue
            evict_s = 0.0 if warm else self._evict_s(view, group)
            score += evict_s
            if score < least and not self._should_wait(group, view, load_s, evict_s):
                best, least = group, score
        return best

    def _first(self, view: WorkerView, oldest: Sequence[Group]) -> tuple[Group, float, Sequence[Group]] | None:
        """The oldest that need not wait, the seconds that it and others would load, and those behind it that may not
        have to wait either; None if all have to."""
        for at, group in enumerate(oldest):
            load_s, evict_s = self._load_s(view, group), self._evict_s(view, group)
            if not self._should_wait(group, view, load_s, evict_s):
                return group, load_s + evict_s, oldest[at + 1 :]
        if len(oldest) < self._rules.heads:
            return None
        group = oldest[0]  # so many cannot all be served by others in time
        return group, self._load_s(view, group) + self._evict_s(view, group), ()

    def _choose_worker(self, group: Group) -> WorkerView | None:
        """The open worker that would finish the group's next run soonest; None if there is none, or it should wait.

        Behind a run that takes nobody knows how long it goes only if there is no other."""
        best: WorkerView | None = None
        least, load_s, evict_s = (True, inf), 0.0, 0.0
        profile = self._index.next_profile(group)
        for view in self._open_for(group):
            its, evicts_s = self._cost(view, group, profile), self._evict_s(view, group)
            total = self._is_trying(view), its.finish_s + evicts_s
            if total < least:
                best, least, load_s, evict_s = view, total, its.load_s, evicts_s
        return None if best is None or self._should_wait(group, best, load_s, evict_s) else best

    def _open_for(self, group: Group) -> Iterable[WorkerView]:
        """Open workers to choose from: those that hold the group's heaviest file, and those open for longest."""
        fleet, heads = self._fleet, self._rules.heads
        holders = fleet.open_holders.of(group.anchor) if group.anchor else ()
        warm = (view for view in holders if not refusal(view, group, fleet))
        able = (view for view in fleet.open if not refusal(view, group, fleet))
        return dict.fromkeys((*islice(warm, heads), *islice(able, heads)))

    def _residents(self, view: WorkerView) -> list[Group]:
        """Groups whose heaviest file the worker holds, the oldest few for each file; and those without models."""
        families = self._pool.queue.families
        found: list[Group] = []
        for file in chain((None,), view.memory.vram, view.memory.ram):
            family = families.get(file)
            if family is not None:
                found += fits(view, family, self._fleet, SIBLINGS)
        return found

    def _should_wait(self, group: Group, view: WorkerView, load_s: float, evict_s: float) -> bool:
        """Whether workers that hold the group's files will have served all of it before this one could, which would
        load for `load_s`, and have others load for `evict_s`.

        Then the group waits: until the worker that it hopes for takes something, or for as long as loading would take.
        So it does, and all of it together, while one of its profile is tried for the first time, as what looks like a
        backlog may be gone in a moment: until that has taken as long.
        """
        if group.anchor is None or group.anchor in view.memory.vram:
            return False
        if group.patience and group.patience[0] == group.head and group.patience[1] <= self._now:
            return False
        holders = self._fleet.holders.of(group.anchor)
        if not holders:
            return False
        profile = self._index.next_profile(group)
        execute_s = self._index.learned.execute_s(profile, view.gpu)
        tried = self._first_try(islice(holders, self._rules.heads), profile)
        if tried is not None and self._now - tried.since < load_s:
            self._index.wait_for(tried, group, tried.since + load_s)
            return True
        ours_s = view.wait_s(self._now) + load_s + execute_s + evict_s
        limit_s = ours_s - (group.size - 1) * execute_s / len(holders)
        if limit_s <= 0:
            return False
        for other in islice(holders, self._rules.heads):
            if other is view or not self._sooner(other, group, profile, limit_s):
                continue
            if refusal(other, group, self._fleet) is None:
                self._index.wait_for(other, group, self._now + load_s)
                return True
        return False

    def _first_try(self, views: Iterable[WorkerView], profile: str) -> WorkerView | None:
        """Who of them has had a run of the profile for longest, if no such run was ever seen to end."""
        if self._index.learned.knows(profile):
            return None
        trying = [view for view in views if view.held and view.first.trait.profile == profile]
        return min(trying, key=lambda view: view.since, default=None)

    def _is_trying(self, view: WorkerView) -> bool:
        """Whether it executes what was never seen to end: what is left of it is a mere guess."""
        return bool(view.held) and not self._index.learned.knows(view.first.trait.profile)

    def _sooner(self, view: WorkerView, group: Group, profile: str, limit_s: float) -> bool:
        """Whether the group's next run would be done there, and what that costs others paid, in less than this."""
        wait_s, execute_s = view.wait_s(self._now), self._index.learned.execute_s(profile, view.gpu)
        if wait_s + execute_s >= limit_s or self._is_trying(view):
            return False
        finish_s = wait_s + self._load_s(view, group) + execute_s
        return finish_s < limit_s and finish_s + self._evict_s(view, group) < limit_s

    def _cost(self, view: WorkerView, group: Group, profile: str) -> Cost:
        return cost(view, group, profile, self._index.learned, self._now)

    def _load_s(self, view: WorkerView, group: Group) -> float:
        return view.memory.load_s(group.files) * self._index.learned.load_pace(view.id)

    def _evict_s(self, view: WorkerView, group: Group) -> float:
        return evict_s(view, group.files, self._fleet)

    def _assign(self, group: Group, view: WorkerView) -> None:
        profile = self._index.next_profile(group)
        its = self._cost(view, group, profile)
        explanation = explain(self._index, self._pool, group, profile, view, its, self._now)
        held = self._index.take(group)
        held.load_s, held.execute_s = its.load_s, its.execute_s
        self._index.give(held, view, self._now)
        self._placements.append(Placement(tickets.run_id(held.number), held.trait.attempt, view.id, explanation))

    def _has_room(self) -> bool:
        return len(self._placements) < AT_ONCE
