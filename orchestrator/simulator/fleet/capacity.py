"""How many workers a load needs for a latency, found by trying: the scheduler of production, in virtual time.

Jobs of one workflow come at random moments and take random seconds, on equal workers that hold its model after their
first run. What is not in it: failures, other workflows, the swapping that they cause. Plan with some room.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import ceil, log
from statistics import fmean

from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.errors import InvalidRequest
from orchestrator.simulator.fleet.figures import quantile
from orchestrator.simulator.fleet.hardware import GB, Gpu, Preset, machines
from orchestrator.simulator.fleet.model_files import ModelFile
from orchestrator.simulator.fleet.policies import Scheduler
from orchestrator.simulator.fleet.workload import CLASSES, Request, Workload
from orchestrator.simulator.fleet.world import World

SHARE = 0.95  # of the jobs that are to be done in time
JOBS = 1200  # that are simulated, at least
JOBS_A_WORKER = 10  # on average, lest a large fleet is never full
WARM_UP = 0.1  # share of them that comes before the fleet is as it will be
MOST_WORKERS = 2000
EQUAL = Preset("equal", (Gpu("gpu", 1.0, 24 * GB, 64 * GB, 12 * GB),))
MODEL = ModelFile(ModelRef("checkpoints", "planned.safetensors"), 7 * GB)


@dataclass(frozen=True, slots=True)
class Load:
    """`spread`: sigma of the lognormal factor on `execute_s`, which is the mean."""

    jobs_per_hour: float
    execute_s: float
    spread: float = 0.3

    @property
    def workers(self) -> float:
        """That it would keep busy all the time."""
        return self.jobs_per_hour * self.execute_s / 3600


@dataclass(frozen=True, slots=True)
class Trial:
    """What so many workers come to. Latencies are from a job's arrival to its end."""

    workers: int
    p50_s: float
    p95_s: float
    busy: float  # share of the workers' time that they execute


def plan(load: Load, latency_s: float, seed: int) -> list[Trial]:
    """All that was tried, the fewest workers first: of those that do it in time, the first is the answer. Raises
    InvalidRequest where none would."""
    high = low = ceil(load.workers) or 1
    if high > MOST_WORKERS:
        raise _too_large()
    workload = workload_of(load, seed)
    alone_s = quantile(sorted(request.execute_s for request in workload.requests), SHARE)
    if alone_s > latency_s:
        raise InvalidRequest(
            "latency_impossible",
            f"{SHARE:.0%} of the runs alone take up to {alone_s:.1f} s: allow that, or use a faster GPU or fewer steps",
        )
    tried: dict[int, Trial] = {}

    def enough(workers: int) -> bool:
        tried[workers] = tried.get(workers) or attempt(workload, workers, seed)
        return tried[workers].p95_s <= latency_s

    while not enough(high):
        low, high = high + 1, high * 2
        if high > MOST_WORKERS:
            raise _too_large()
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    enough(high + 1)  # what one in reserve is worth
    return [tried[workers] for workers in sorted(tried)]


def _too_large() -> InvalidRequest:
    return InvalidRequest("load_too_large", f"this needs more than {MOST_WORKERS} workers: plan for a part of it")


def attempt(workload: Workload, workers: int, seed: int) -> Trial:
    """So many workers, on that workload."""
    fleet = machines(EQUAL, workers, seed, 0.0)
    outcome = World(workload, fleet, Scheduler(workload.taught), seed).run()
    settled = workload.requests[int(WARM_UP * len(workload.requests))].at
    latencies = sorted(ended - request.at for request, ended in outcome.ended if request.at >= settled)
    return Trial(workers, quantile(latencies, 0.5), quantile(latencies, SHARE), outcome.busy_s / outcome.up_s)


def workload_of(load: Load, seed: int) -> Workload:
    """Same arguments, same requests."""
    rng = random.Random(f"{seed}/capacity")
    needs = Needs(CLASSES, (MODEL.ref,))
    factors = [rng.lognormvariate(0, load.spread) for _ in range(max(JOBS, ceil(JOBS_A_WORKER * load.workers)))]
    scale = load.execute_s / fmean(factors)
    requests: list[Request] = []
    at = 0.0
    for factor in factors:
        at += rng.expovariate(load.jobs_per_hour / 3600)
        requests.append(Request(at, "tenant", "planned@1", needs, (MODEL,), scale * factor))
    return Workload(tuple(requests), (MODEL,), {"planned@1": load.execute_s}, at / 3600)


def spread_of(low_s: float, high_s: float) -> float:
    """Of a lognormal of which one in ten is below `low_s`, and one above `high_s`."""
    deviations = 2 * 1.2816
    return log(high_s / low_s) / deviations if 0 < low_s < high_s else 0.0
