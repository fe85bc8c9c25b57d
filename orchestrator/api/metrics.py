"""The fleet as it stands, for Prometheus: read from the store at each scrape, so that any controller tells the same.

Labels are bounded: pools come from callers, so all but the fullest are counted together.
"""

from __future__ import annotations

import platform
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import product

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from orchestrator import __version__
from orchestrator.domain.job import Priority
from orchestrator.domain.ledger import Entry
from orchestrator.domain.worker import Worker, WorkerState
from orchestrator.store.port import Counts

MAX_POOLS = 100
OTHER_POOLS = "(others)"


def exposition(counts: Counts, workers: Sequence[Worker], spent: Sequence[Entry]) -> bytes:
    """The fleet's gauges in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Fleet(counts, workers, time.time()))
    registry.register(_Costs(spent))
    return generate_latest(registry)


class _Costs(Collector):
    def __init__(self, spent: Sequence[Entry]) -> None:
        self._spent = spent

    def collect(self) -> Iterable[CounterMetricFamily]:
        labels = ("pool", "gpu", "workflow", "kind")
        seconds = CounterMetricFamily("comfyfleet_worker_seconds", "Every second of every worker, once.", labels=labels)
        dollars = CounterMetricFamily("comfyfleet_cost_dollars", "The same, where the GPU has a rate.", labels=labels)
        sums: defaultdict[tuple[str, str, str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for it in self._spent:  # a pool's rate may have changed
            part = sums[it.pool, it.gpu, it.workflow, it.kind.value]
            part[0] += it.seconds
            part[1] += it.dollars
        for values, (spent_s, spent_dollars) in sorted(sums.items()):
            seconds.add_metric(values, spent_s)
            dollars.add_metric(values, spent_dollars)
        yield from (seconds, dollars)


class _Fleet(Collector):
    def __init__(self, counts: Counts, workers: Sequence[Worker], now: float) -> None:
        self._counts = counts
        self._workers = workers
        self._now = now

    def collect(self) -> Iterable[Metric]:
        yield self._jobs()
        yield self._ended()
        yield self._queue()
        yield self._ages()
        yield from self._fleet()
        yield from self._memory()
        build = GaugeMetricFamily("comfyfleet_build_info", "1: this version answers.", labels=("version", "python"))
        build.add_metric((__version__, platform.python_version()), 1)
        yield build

    def _jobs(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily("comfyfleet_jobs", "Jobs that the store keeps, by status.", labels=("status",))
        for status, count in self._counts.jobs.items():
            family.add_metric((status.value,), count)
        return family

    def _ended(self) -> CounterMetricFamily:
        family = CounterMetricFamily(
            "comfyfleet_jobs_ended", "Jobs that came to their end.", labels=("workflow", "status")
        )
        for (workflow, status), count in sorted(self._counts.ended.items()):
            family.add_metric((workflow, status.value), count)
        return family

    def _served(self) -> Iterable[tuple[str, Priority]]:
        """The queues that are told even when they are empty: a graph or an alert would have nothing to look at."""
        return product(sorted({worker.info.pool for worker in self._workers}), Priority)

    def _queue(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily("comfyfleet_queued_runs", "Runs in the queue.", labels=("pool", "priority"))
        by_pool = Counter({pool: 0 for pool, _ in self._served()})
        for (pool, _), count in self._counts.queued.items():
            by_pool[pool] += count
        named = {pool for pool, _ in by_pool.most_common(MAX_POOLS)}
        depths = Counter({(pool, priority.value): 0 for pool, priority in self._served() if pool in named})
        for (pool, priority), count in self._counts.queued.items():
            depths[pool if pool in named else OTHER_POOLS, priority.value] += count
        for labels, count in sorted(depths.items()):
            family.add_metric(labels, count)
        return family

    def _ages(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "comfyfleet_oldest_queued_seconds", "Age of the run that has waited longest; 0 when none waits.",
            labels=("pool", "priority"),
        )  # fmt: skip
        ages = dict.fromkeys(self._served(), 0.0)
        ages |= {queue: max(0.0, self._now - at) for queue, at in self._counts.oldest_queued_at.items()}
        for pool, priority in sorted(ages, key=lambda queue: -ages[queue])[: MAX_POOLS * len(Priority)]:
            family.add_metric((pool, priority.value), ages[pool, priority])
        return family

    def _memory(self) -> Iterable[GaugeMetricFamily]:
        of_worker = ("worker", "pool")
        vram = GaugeMetricFamily("comfyfleet_worker_vram_bytes", "VRAM of its device.", labels=of_worker)
        ram = GaugeMetricFamily("comfyfleet_worker_ram_bytes", "RAM of its machine.", labels=of_worker)
        models = GaugeMetricFamily(
            "comfyfleet_worker_models_bytes", "Model files that it holds, by where.", labels=(*of_worker, "tier")
        )
        for worker in self._workers:
            labels = (worker.info.id, worker.info.pool)
            if worker.info.vram_bytes is not None:
                vram.add_metric(labels, worker.info.vram_bytes)
            if worker.info.ram_bytes is not None:
                ram.add_metric(labels, worker.info.ram_bytes)
            held = worker.residency
            for tier, files in (("vram", held.vram), ("ram", held.ram)):
                models.add_metric((*labels, tier), sum(held.held.get(file, held.sizes.get(file, 0)) for file in files))
        yield from (vram, ram, models)

    def _fleet(self) -> Iterable[GaugeMetricFamily]:
        workers = GaugeMetricFamily("comfyfleet_workers", "Workers, by state.", labels=("pool", "state"))
        states = Counter((worker.info.pool, worker.state.value) for worker in self._workers)
        for labels, count in sorted(states.items()):
            workers.add_metric(labels, count)
        yield workers
        ready = GaugeMetricFamily("comfyfleet_worker_ready", "1: takes runs.", labels=("worker", "pool"))
        state = GaugeMetricFamily(
            "comfyfleet_worker_state", "1: the worker is in this state.", labels=("worker", "pool", "state")
        )
        runs = GaugeMetricFamily("comfyfleet_worker_runs", "Runs assigned to a worker.", labels=("worker", "pool"))
        for worker in self._workers:
            labels = (worker.info.id, worker.info.pool)
            ready.add_metric(labels, float(worker.state is WorkerState.READY))
            runs.add_metric(labels, len(worker.runs))
            state.add_metric((*labels, worker.state.value), 1)
        yield ready
        yield state
        yield runs
