"""Where a workflow's time goes and what its next run will take, from what its last runs took. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.domain.sample import Sample
from orchestrator.scheduling.learned import CLIP, PRIOR_EXECUTE_S

LOW, HIGH = 0.1, 0.9
ENOUGH = 5  # runs on the kinds of GPU that there are, before those on others are left out


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """Seconds of one node, of the runs in which it was not cached. `share`: of all seconds of all nodes."""

    node: str
    runs: int
    share: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Range:
    """One run in ten is expected below `low`, one above `high`."""

    expected: float
    low: float
    high: float

    def times(self, factor: float) -> Range:
        return Range(self.expected * factor, self.low * factor, self.high * factor)


def node_profiles(samples: Sequence[Sample]) -> list[NodeProfile]:
    """The dearest first."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for sample in samples:
        for node, spent in sample.nodes.items():
            seconds[node].append(spent)
    total = sum(map(sum, seconds.values())) or 1.0
    found = [
        NodeProfile(
            node, len(spent), sum(spent) / total, quantile(spent, 0.5), quantile(spent, 0.9), quantile(spent, 0.99)
        )
        for node, spent in seconds.items()
    ]
    return sorted(found, key=lambda each: -each.share)


def expected_s(samples: Sequence[Sample], gpus: Collection[str]) -> Range:
    """GPU-seconds of the next run, loading included, on one of these kinds of GPU. Without samples: the prior."""
    alike = [sample for sample in samples if sample.gpu in gpus]
    if len(alike) >= ENOUGH:
        samples = alike
    if not samples:
        return Range(PRIOR_EXECUTE_S, PRIOR_EXECUTE_S / CLIP, PRIOR_EXECUTE_S * CLIP)
    return spread([sample.execute_s for sample in samples])


def spread(values: Sequence[float]) -> Range:
    """What some values, of which there is one at least, let one expect of the next."""
    mean = fmean(values)  # which a few runs that had to load much may take beyond what nine in ten do
    return Range(mean, min(mean, quantile(values, LOW)), max(mean, quantile(values, HIGH)))


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
