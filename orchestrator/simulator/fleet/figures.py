"""What came of a simulation, in numbers. Pure.

Latency is from a job's arrival to its end, in seconds. A policy's ratios are to the reference on the same workload,
machines and failures. Fairness is Jain's index over tenants of the mean share of a job's latency that it executed:
1 when every tenant waits as much for each second that it gets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from orchestrator.simulator.fleet.world import Outcome

QUANTILES = 200  # points of a latency distribution
SAMPLES = 288  # points in time: every five minutes of a day
DIGITS = 6
TB = 1e12


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one policy on one workload."""

    jobs: int
    mean_s: float
    p50_s: float
    p99_s: float
    max_s: float
    mean_ratio: float
    p99_ratio: float
    vram_tb: float  # loaded into VRAM
    loads: int  # files loaded into VRAM
    swaps: int  # runs whose loading pushed something else out
    staged_tb: float  # brought from disk or network to RAM ahead of time
    utilisation: float  # share of the time that workers were up and executed
    loading: float  # share that they loaded
    fairness: float
    lost: int  # runs that a failure ended; their jobs were run again


@dataclass(frozen=True, slots=True)
class Result:
    """`quantiles`: latency of each QUANTILES-th share of jobs. `in_system`: jobs that arrived and had not ended, at
    SAMPLES moments of `hours`."""

    policy: str
    figures: Figures
    quantiles: tuple[float, ...]
    in_system: tuple[int, ...]


def summarise(policy: str, outcome: Outcome, hours: float, reference: Result | None) -> Result:
    """`reference`: on the same workload; None for the reference itself."""
    latencies = sorted(ended - request.at for request, ended in outcome.ended)
    mean_s, p99_s = fmean(latencies), quantile(latencies, 0.99)
    figures = Figures(
        jobs=len(latencies),
        mean_s=mean_s,
        p50_s=quantile(latencies, 0.5),
        p99_s=p99_s,
        max_s=latencies[-1],
        mean_ratio=mean_s / reference.figures.mean_s if reference else 1.0,
        p99_ratio=p99_s / reference.figures.p99_s if reference else 1.0,
        vram_tb=outcome.loaded_bytes / TB,
        loads=outcome.loads,
        swaps=outcome.swaps,
        staged_tb=outcome.staged_bytes / TB,
        utilisation=outcome.busy_s / outcome.up_s,
        loading=outcome.load_s / outcome.up_s,
        fairness=jain(_shares(outcome)),
        lost=outcome.lost,
    )
    points = tuple(quantile(latencies, n / QUANTILES) for n in range(QUANTILES + 1))
    return Result(policy, figures, points, _in_system(outcome, hours))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of numbers in order."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def jain(values: Iterable[float]) -> float:
    """Jain's index: 1 when all are equal, 1/n when one has it all."""
    found = list(values)
    return sum(found) ** 2 / (len(found) * sum(value * value for value in found))


def averaged(results: Sequence[Result]) -> dict[str, float]:
    """The means of a policy's figures over several seeds."""
    several = [asdict(result.figures) for result in results]
    return {name: fmean(figures[name] for figures in several) for name in several[0]}


def document(setting: Mapping[str, Any], by_seed: Mapping[int, Sequence[Result]]) -> dict[str, Any]:
    """All of it, JSON-ready and rounded: the same for the same seeds on every machine."""
    return _rounded({
        "setting": setting,
        "policies": {
            policy: {
                "mean": averaged(results),
                "seeds": {
                    str(seed): {
                        "figures": asdict(result.figures),
                        "latency_quantiles_s": result.quantiles,
                        "in_system": result.in_system,
                    }
                    for seed, result in zip(by_seed, results, strict=True)
                },
            }
            for policy, results in by_policy(by_seed).items()
        },
    })  # fmt: skip


def by_policy(by_seed: Mapping[int, Sequence[Result]]) -> dict[str, list[Result]]:
    """The results of each policy, in the order of the seeds."""
    found: dict[str, list[Result]] = defaultdict(list)
    for results in by_seed.values():
        for result in results:
            found[result.policy].append(result)
    return dict(found)


def _shares(outcome: Outcome) -> list[float]:
    """Of each tenant: the mean share of its jobs' latencies that was execution, on a GPU of pace 1."""
    by_tenant: dict[str, list[float]] = defaultdict(list)
    for request, ended in outcome.ended:
        by_tenant[request.tenant].append(request.execute_s / (ended - request.at))
    return [fmean(shares) for shares in by_tenant.values()]


def _in_system(outcome: Outcome, hours: float) -> tuple[int, ...]:
    arrived = sorted(request.at for request, _ in outcome.ended)
    ended = [at for _, at in outcome.ended]  # in order as they are
    moments = [n * hours * 3600 / SAMPLES for n in range(SAMPLES + 1)]
    return tuple(bisect_right(arrived, at) - bisect_right(ended, at) for at in moments)


def _rounded(value: Any) -> Any:
    """The last bits of a float may differ between machines."""
    match value:
        case float():
            return round(value, DIGITS)
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
        case _:
            return value
