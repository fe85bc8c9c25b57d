"""A pool at work: workers that execute what the scheduler gives them, in virtual time."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque

from orchestrator.scheduling.index import Index
from orchestrator.scheduling.policy import decide
from tests.unit.scheduling.builders import entry, offer, worker

ALL = offer("a", "b", "c")


class Floor:
    """Workers that execute what they are given, for as long as the test says; it keeps account by tenant."""

    def __init__(self, workers: int, weights: dict[str, float] | None = None) -> None:
        self.index = Index(weights=weights)
        self.now = 0.0
        self.had: defaultdict[str, float] = defaultdict(float)
        self.waiting: Counter[str] = Counter()
        self.began: dict[str, float] = {}  # run -> when it began to execute
        self._runs: dict[str, tuple[str, float]] = {}
        self._has: dict[str, deque[str]] = {f"w{n}": deque() for n in range(workers)}
        self._ends: list[tuple[float, str]] = []
        for name in self._has:
            self.index.worker(worker(name), ALL, 0.0)

    def submit(self, tenant: str, seconds: float, *models: str, priority: str = "normal") -> str:
        number = len(self._runs) + 1
        run = entry(number, *models, at=1000.0 + self.now, profile=f"{tenant}@1", priority=priority, tenant=tenant)
        self._runs[run.run_id] = tenant, seconds
        self.waiting[tenant] += 1
        self.index.queued(run, self.now)
        return run.run_id

    def decide(self) -> list[str]:
        """Answers the runs that were placed."""
        plan = decide(self.index, self.now)
        for placement in plan.placements:
            self.waiting[self._runs[placement.run_id][0]] -= 1
            self._has[placement.worker].append(placement.run_id)
            if len(self._has[placement.worker]) == 1:
                self._begin(placement.worker)
        wake_at = plan.wake_at
        if wake_at is not None and (not self._ends or wake_at < self._ends[0][0]):
            heapq.heappush(self._ends, (max(wake_at, self.now), ""))
        return [placement.run_id for placement in plan.placements]

    def step(self) -> list[str]:
        """The next thing happens."""
        self.now, name = heapq.heappop(self._ends)
        if name:
            tenant, seconds = self._runs[done := self._has[name].popleft()]
            self.had[tenant] += seconds
            self.index.ended(done, None, self.now)
            if self._has[name]:
                self._begin(name)
        return self.decide()

    def _begin(self, name: str) -> None:
        run = self._has[name][0]
        self.began[run] = self.now
        self.index.started(run, name, self.now)
        heapq.heappush(self._ends, (self.now + self._runs[run][1], name))
