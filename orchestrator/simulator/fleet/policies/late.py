"""Baselines that keep runs in one queue until a worker is idle, and the reference that nothing can beat by routing."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.run import QueueEntry
from orchestrator.scheduling.models import ModelFile
from orchestrator.simulator.fleet.policies.book import Book, Desk

SETTLE_S = 1.5  # SwarmUI: so long a model is wanted before it is loaded, where several workers are idle
PRESSURE_S = 10.0  # SwarmUI: seconds of age that a waiting run is worth


class Fitness(Book):
    """The oldest run goes to the idle worker that lacks the fewest bytes for it."""

    name = "gb-fitness"

    def place(self, now: float) -> Iterable[tuple[QueueEntry, Desk]]:
        while self.queue:
            idle = self.able(self.queue[0], idle=True)
            if not idle:
                return
            entry = self.queue.popleft()
            files = self.files(entry)
            yield entry, min(idle, key=lambda desk: (_missing(files, desk), desk.freed))


class Reference(Book):
    """First in, first out, onto the fastest idle worker, in a world where loading takes no time."""

    name = "reference"
    free_loads = True

    def place(self, now: float) -> Iterable[tuple[QueueEntry, Desk]]:
        while self.queue:
            idle = self.able(self.queue[0], idle=True)
            if not idle:
                return
            entry = self.queue.popleft()
            yield entry, min(idle, key=lambda desk: self.execute_s(entry, desk))


class Swarm(Book):
    """SwarmUI's rule: an idle worker serves the model that it has; else it loads the model with the most pressure,
    which is ten for each run that waits and one for each second that the first of them did."""

    name = "swarmui"

    def __init__(self, taught: dict[str, float]) -> None:
        super().__init__(taught)
        self._by_model: dict[ModelFile, dict[str, QueueEntry]] = {}
        self._since: dict[ModelFile, float] = {}  # when somebody began to wait for a model
        self._loading: dict[ModelFile, float] = {}  # until when it is expected to be loading somewhere

    def queued(self, entry: QueueEntry, now: float) -> None:
        model = self.main(entry)
        self._by_model.setdefault(model, {})[entry.run_id] = entry
        self._since.setdefault(model, now)

    def place(self, now: float) -> Iterable[tuple[QueueEntry, Desk]]:
        idle = [desk for desk in self.desks.values() if desk.up and not desk.tasks]
        for desk in idle:
            if desk.last in self._by_model:
                yield self._take(desk.last), desk
        idle = sorted((desk for desk in idle if not desk.tasks), key=lambda desk: desk.freed)
        while idle and (model := self._pressing(now)) is not None:
            if len(idle) > 1 and now - self._since[model] < SETTLE_S:
                return
            desk = idle.pop(0)
            entry = self._take(model)
            self._loading[model] = now + self.load_s(self.files(entry), desk)
            yield entry, desk

    def wake_at(self, now: float) -> float | None:
        """When a model has been wanted for long enough, or is loaded."""
        if not self._by_model or not any(desk.up and not desk.tasks for desk in self.desks.values()):
            return None
        times = [max(self._since[model] + SETTLE_S, self._loading.get(model, 0.0)) for model in self._by_model]
        return min((at for at in times if at > now), default=None)

    def _pressing(self, now: float) -> ModelFile | None:
        """The model with the most pressure of those that are not being loaded."""
        free = [model for model in self._by_model if self._loading.get(model, 0.0) <= now]
        if not free:
            return None
        return max(free, key=lambda it: len(self._by_model[it]) * PRESSURE_S + now - self._since[it])

    def _take(self, model: ModelFile) -> QueueEntry:
        waiting = self._by_model[model]
        entry = waiting.pop(next(iter(waiting)))
        if not waiting:
            del self._by_model[model], self._since[model]
        return entry


def _missing(files: Iterable[ModelFile], desk: Desk) -> int:
    """Bytes that are not in the worker's VRAM."""
    return sum(file.bytes for file in files if file not in desk.memory.vram)
