"""comfyfleet's own policy: the index and the decision that production uses, fed in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.needs import ModelRef
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Worker
from orchestrator.scheduling.fetch import FETCH_S, Fetches
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.models import Contents, Offer
from orchestrator.scheduling.policy import decide
from orchestrator.simulator.fleet.policies.port import Orders
from orchestrator.store.port import RunEnd


class Scheduler:
    """See the module."""

    name = "comfyfleet"
    free_loads = False

    def __init__(self, taught: Mapping[str, float]) -> None:
        self._index = Index()
        self._fetches = Fetches(self._index)
        self._looks_at = 0.0  # at what should be fetched
        for profile, seconds in taught.items():
            self._index.learned.ran(profile, "", "", 0.0, 0.0, seconds)

    def worker(self, worker: Worker, offer: Offer, contents: Contents, now: float) -> None:
        self._index.worker(worker, offer, now, contents)

    def queued(self, entry: QueueEntry, now: float) -> None:
        self._index.queued(entry, now)

    def started(self, run_id: str, worker_id: str, now: float) -> None:
        self._index.started(run_id, worker_id, now)

    def ended(self, entry: QueueEntry, worker_id: str, end: RunEnd, now: float) -> None:
        gpu = self._index.gpu(worker_id)
        held = self._index.ended(entry.run_id, end.residency, now)
        if held is not None and end.execute_s is not None:
            self._index.learned.ran(entry.profile, gpu, worker_id, held.load_s, end.load_s or 0.0, end.execute_s)

    def decide(self, now: float) -> Orders:
        plan = decide(self._index, now)
        if plan.refusals:
            raise AssertionError(f"every worker can do everything, and this was refused: {plan.refusals[0]}")
        fetching = self._fetch(now) if self._looks_at <= now else ()
        wake_at = plan.wake_at
        if len(self._index):
            wake_at = self._looks_at if wake_at is None else min(wake_at, self._looks_at)
        placements = [(placement.run_id, placement.worker) for placement in plan.placements]
        staging = [(order.worker, order.files) for order in plan.prefetch]
        return Orders(placements, staging, fetching, wake_at)

    def _fetch(self, now: float) -> list[tuple[str, Sequence[ModelRef]]]:
        self._looks_at = now + FETCH_S
        for _ in self._fetches.look(now):
            pass
        return list(self._fetches.orders.items())
