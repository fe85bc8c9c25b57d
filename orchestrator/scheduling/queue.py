"""The queued runs of one pool, in groups of runs that any worker treats alike.

A decision looks at the heads of groups, so its cost depends on how many distinct sets of needs wait, never on how many
runs do. A run leaves a group's heap lazily: a ticket that is not the run's valid one is dropped when it surfaces.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.scheduling import ticket as tickets
from orchestrator.scheduling.models import ModelFile, Offer, reload_s

STALE_SLACK = 64  # stale tickets that a heap may hold beyond its live ones before it is rebuilt


class Trait:
    """What runs of one group may differ in. Shared by all that do not: a queued run costs no more than its ticket."""

    __slots__ = ("attempt", "count", "group", "number", "priority", "profile")

    def __init__(self, group: Group, priority: str, attempt: int, profile: str) -> None:
        self.number = -1  # by which tickets name it, while there are some
        self.group = group
        self.priority = priority
        self.attempt = attempt
        self.profile = profile
        self.count = 0


class Group:
    """Queued runs of one pool with the same needs and the same workers to avoid."""

    __slots__ = (
        "_heap", "_traits", "anchor", "avoid", "excess", "files", "head", "infeasible_since", "lacks", "needs",
        "patience", "pool", "reload_s", "size", "standing_s",
    )  # fmt: skip

    def __init__(self, pool: str, needs: Needs, avoid: tuple[str, ...], files: tuple[ModelFile, ...]) -> None:
        self.pool = pool
        self.needs = needs
        self.avoid = avoid
        self.files = files  # the heaviest first
        self.anchor = files[0] if files else None  # what makes one worker better for the group than another
        self.size = 0
        self.reload_s = reload_s(files[0]) if files else 0.0
        self.head: int | None = None  # ticket of the run that is next
        self.standing_s = 0.0  # the head's
        self.excess = False  # whether even the head is beyond its tenant's share
        self.lacks: dict[Offer, Lack] = {}  # memo of feasible.lack
        self.patience: tuple[int, float, str] | None = None  # (head, until when it may wait, for which warm worker)
        self.infeasible_since: float | None = None  # since when no worker of the pool could ever do it
        self._heap: list[int] = []
        self._traits: dict[tuple[str, int, str], Trait] = {}

    @property
    def next(self) -> int:
        """The head of a group that has one."""
        assert self.head is not None
        return self.head

    def trait(self, priority: str, attempt: int, profile: str) -> Trait:
        key = (priority, attempt, profile)
        found = self._traits.get(key)
        if found is None:
            found = self._traits[key] = Trait(self, priority, attempt, profile)
        return found

    def add(self, ticket: int, trait: Trait) -> None:
        trait.count += 1
        self.size += 1
        heapq.heappush(self._heap, ticket)

    def replace(self, ticket: int, valid: Mapping[int, int]) -> None:
        """A run that is here has a new ticket."""
        heapq.heappush(self._heap, ticket)
        self._tidy(valid)

    def remove(self, trait: Trait, valid: Mapping[int, int]) -> None:
        """A run of this trait has left."""
        trait.count -= 1
        if not trait.count:
            del self._traits[trait.priority, trait.attempt, trait.profile]
        self.size -= 1
        self._tidy(valid)

    def traits(self) -> Iterable[Trait]:
        """What its runs are like; each tells how many there are."""
        return self._traits.values()

    def surface(self, valid: Mapping[int, int]) -> int | None:
        """The ticket that is next now; what is stale above it goes."""
        heap = self._heap
        while heap and valid.get(tickets.number(heap[0])) != heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else None

    def _tidy(self, valid: Mapping[int, int]) -> None:
        if len(self._heap) > 2 * self.size + STALE_SLACK:
            self._heap = [ticket for ticket in self._heap if valid.get(tickets.number(ticket)) == ticket]
            heapq.heapify(self._heap)


class Lack:
    """What an offer is missing for a group."""

    __slots__ = ("classes", "models")

    def __init__(self, classes: tuple[str, ...], models: tuple[ModelRef, ...]) -> None:
        self.classes = classes
        self.models = models


class Line:
    """Groups in the order of their heads."""

    __slots__ = ("_groups", "_heads")

    def __init__(self) -> None:
        self._heads: list[int] = []
        self._groups: list[Group] = []  # each at the place of its head

    def __len__(self) -> int:
        return len(self._heads)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    def add(self, head: int, group: Group) -> None:
        at = bisect_left(self._heads, head)
        self._heads.insert(at, head)
        self._groups.insert(at, group)

    def remove(self, head: int) -> None:
        at = bisect_left(self._heads, head)
        del self._heads[at]
        del self._groups[at]

    def move(self, was: int, head: int) -> None:
        """The group with this head has another one."""
        at = bisect_left(self._heads, was)
        del self._heads[at]
        self.add(head, self._groups.pop(at))


class Queue:
    """The groups of one pool: all of them in one line, and those of each anchor in a line of its own."""

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.line = Line()
        self.families: dict[ModelFile | None, Line] = {}
        self.avoiding: dict[Group, None] = {}  # groups with workers to avoid
        self._groups: dict[tuple[Needs, tuple[str, ...]], Group] = {}

    def group(self, needs: Needs, avoid: tuple[str, ...]) -> Group | None:
        return self._groups.get((needs, avoid))

    def settle(self, group: Group, valid: Mapping[int, int]) -> None:
        """Puts a group where its head belongs, after runs came or left; an empty one goes."""
        head = group.surface(valid)
        if head == group.head:
            return
        if head is None:
            self._leave(group)
        else:
            group.standing_s = tickets.standing_s(head)
            group.excess = head >= tickets.EXCESS
            if group.head is None:
                self._enter(group, head)
            else:
                self.line.move(group.head, head)
                self.families[group.anchor].move(group.head, head)
        group.head = head

    def _enter(self, group: Group, head: int) -> None:
        self._groups[group.needs, group.avoid] = group
        if group.avoid:
            self.avoiding[group] = None
        self.line.add(head, group)
        if group.anchor not in self.families:
            self.families[group.anchor] = Line()
        self.families[group.anchor].add(head, group)

    def _leave(self, group: Group) -> None:
        del self._groups[group.needs, group.avoid]
        self.avoiding.pop(group, None)
        self.line.remove(group.next)
        family = self.families[group.anchor]
        family.remove(group.next)
        if not family:
            del self.families[group.anchor]
