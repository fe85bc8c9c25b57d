"""Pool: the queue and the workers that serve it, and which of them the next decision has to look at.

A decision does not go over everything. Between a group and an open worker that have been looked at together there is
nothing to do until one of them changes: then it is fresh, and only what is fresh is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.scheduling.fairness import Fairness
from orchestrator.scheduling.fleet import Fleet, WorkerView
from orchestrator.scheduling.queue import Group, Queue


class Pool:
    """See the module."""

    def __init__(self, name: str, weights: Mapping[str, float]) -> None:
        self.name = name
        self.fairness = Fairness(weights)
        self.queue = Queue(name)
        self.fleet = Fleet()
        self.fresh_groups: dict[Group, None] = {}
        self.fresh_workers: dict[WorkerView, None] = {}
        self.review_at: float | None = None  # when its queue is searched for runs that nobody can do
        self.review_due = False

    def refresh(self, group: Group) -> None:
        if group.head is not None:
            self.fresh_groups[group] = None

    def recall(self, view: WorkerView) -> None:
        """The groups that wait for this worker are to think again: it took something, or went away."""
        for group in view.awaited:
            self.refresh(group)
        view.awaited.clear()
