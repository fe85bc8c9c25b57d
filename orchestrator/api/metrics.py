"""The fleet as it stands, for Prometheus: read from the store at each scrape, so that any controller tells the same.

Labels are bounded: pools come from callers, so all but the fullest are counted together.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from orchestrator.domain.worker import Worker, WorkerState
from orchestrator.store.port import Counts

MAX_POOLS = 100
OTHER_POOLS = "(others)"


def exposition(counts: Counts, workers: Sequence[Worker]) -> bytes:
    """The fleet's gauges in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Fleet(counts, workers, time.time()))
    return generate_latest(registry)


class _Fleet(Collector):
    def __init__(self, counts: Counts, workers: Sequence[Worker], now: float) -> None:
        self._counts = counts
        self._workers = workers
        self._now = now

    def collect(self) -> Iterable[GaugeMetricFamily]:
        yield self._jobs()
        yield self._queue()
        oldest = self._counts.oldest_queued_at
        yield GaugeMetricFamily(
            "comfyfleet_oldest_queued_seconds", "Age of the run that has waited longest; 0 when none waits.",
            0.0 if oldest is None else max(0.0, self._now - oldest),
        )  # fmt: skip
        yield from self._fleet()

    def _jobs(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily("comfyfleet_jobs", "Jobs that the store keeps, by status.", labels=("status",))
        for status, count in self._counts.jobs.items():
            family.add_metric((status.value,), count)
        return family

    def _queue(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily("comfyfleet_queued_runs", "Runs in the queue.", labels=("pool", "priority"))
        by_pool: Counter[str] = Counter()
        for (pool, _), count in self._counts.queued.items():
            by_pool[pool] += count
        named = {pool for pool, _ in by_pool.most_common(MAX_POOLS)}
        depths: Counter[tuple[str, str]] = Counter()
        for (pool, priority), count in self._counts.queued.items():
            depths[pool if pool in named else OTHER_POOLS, priority.value] += count
        for labels, count in sorted(depths.items()):
            family.add_metric(labels, count)
        return family

    def _fleet(self) -> Iterable[GaugeMetricFamily]:
        workers = GaugeMetricFamily("comfyfleet_workers", "Workers, by state.", labels=("pool", "state"))
        states = Counter((worker.info.pool, worker.state.value) for worker in self._workers)
        for labels, count in sorted(states.items()):
            workers.add_metric(labels, count)
        yield workers
        ready = GaugeMetricFamily("comfyfleet_worker_ready", "1: takes runs.", labels=("worker", "pool"))
        runs = GaugeMetricFamily("comfyfleet_worker_runs", "Runs assigned to a worker.", labels=("worker", "pool"))
        for worker in self._workers:
            labels = (worker.info.id, worker.info.pool)
            ready.add_metric(labels, float(worker.state is WorkerState.READY))
            runs.add_metric(labels, len(worker.runs))
        yield ready
        yield runs
