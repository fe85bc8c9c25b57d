"""Cost in seconds: how soon a worker could be done with a run, and what that does to the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.scheduling.fleet import Fleet, WorkerView
from orchestrator.scheduling.learned import Learned
from orchestrator.scheduling.models import ModelFile
from orchestrator.scheduling.queue import Group

WARMUP_S = 30.0  # to have a model back that was kept warm: a run, and for those who come meanwhile the wait


class Cost(NamedTuple):
    """What a worker would need for a run, in seconds."""

    wait_s: float
    load_s: float
    execute_s: float

    @property
    def finish_s(self) -> float:
        """From now until the run would be done."""
        return self.wait_s + self.load_s + self.execute_s


def cost(view: WorkerView, group: Group, profile: str, learned: Learned, now: float) -> Cost:
    """Of the group's next run, whose profile this is, on this worker."""
    return Cost(
        view.wait_s(now),
        view.memory.load_s(group.files) * learned.load_pace(view.id),
        learned.execute_s(profile, view.gpu),
    )


def evict_s(view: WorkerView, files: Sequence[ModelFile], fleet: Fleet) -> float:
    """Seconds of reloading that the load would cause: what it pushes out, shared among all who hold the same too.

    What falls below the floor of a warm pool is brought back for certain, by a whole warm-up.
    """
    memory, alike = view.memory, fleet.holders.alike
    seconds = 0.0
    for file in memory.pushed_out_by(files):
        holders = alike(file, view)
        seconds += memory.reload_s(file) / max(1, holders)
        if holders <= fleet.floor.get(file, 0):
            seconds += WARMUP_S
    return seconds
