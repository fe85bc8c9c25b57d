"""Where the time of a workflow goes, and what its next run will take."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from orchestrator.domain.sample import Sample
from orchestrator.scheduling.learned import PRIOR_EXECUTE_S
from orchestrator.scheduling.profile import expected_s, node_profiles


def sample(execute_s: float, gpu: str = "a100", **nodes: float) -> Sample:
    return Sample(execute_s, 0.0, gpu, nodes)


def test_the_bottleneck_comes_first_and_a_cached_node_is_not_counted() -> None:
    profiles = node_profiles([sample(10.0, load=6.0, sampler=4.0), sample(4.0, sampler=4.0), sample(5.0, sampler=5.0)])
    assert [(it.node, it.runs, it.p50) for it in profiles] == [("sampler", 3, 4.0), ("load", 1, 6.0)]
    assert sum(it.share for it in profiles) == pytest.approx(1.0)


def test_without_runs_the_prior_is_told_with_a_wide_range() -> None:
    guess = expected_s([], {"a100"})
    assert guess.low < guess.expected == PRIOR_EXECUTE_S < guess.high


def test_runs_on_other_kinds_of_gpu_count_only_while_there_are_too_few() -> None:
    slow = [sample(20.0, "t4") for _ in range(50)]
    assert expected_s([sample(5.0)] * 2 + slow, {"a100"}).expected > 15
    assert expected_s([sample(5.0)] * 5 + slow, {"a100"}).expected == 5.0


@pytest.mark.parametrize("seed", range(20))
def test_after_thirty_noisy_runs_the_next_ones_are_within_a_fifth_of_the_estimate(seed: int) -> None:
    rng = random.Random(seed)
    seconds = [12.0 * rng.lognormvariate(0, 0.3) for _ in range(330)]
    told = expected_s([sample(each) for each in seconds[:30]], {"a100"})
    assert told.expected == pytest.approx(fmean(seconds[30:]), rel=0.2)
    inside = sum(told.low <= each <= told.high for each in seconds[30:])
    assert inside >= 0.6 * 300
