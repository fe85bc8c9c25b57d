"""When a ComfyUI that works is replaced."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.worker.supervisor.wear import GB, STAGGER, Limits, Usage, staggered, worn


@pytest.mark.parametrize(
    ("usage", "limits", "why"),
    [
        (
            Usage(3 * GB, 2, 9.0),
            Limits(rss_bytes=2 * GB),
            "it holds 3.00 GB of memory after 2 runs; recycle.rss_gb is 2",
        ),
        (Usage(3 * GB, 0, 9.0), Limits(rss_bytes=2 * GB), None),  # a fresh one would be as large
        (Usage(2 * GB, 9, 9.0), Limits(rss_bytes=2 * GB), None),
        (Usage(0, 1, 9.0), Limits(runs=1), "it has executed 1 run; recycle.runs is 1"),
        (Usage(0, 9, 9.0), Limits(runs=10), None),
        (Usage(0, 0, 60.0), Limits(age_s=60.0), "it is 60 s old; recycle.age_s, staggered, is 60"),
        (Usage(0, 0, 59.0), Limits(age_s=60.0), None),
    ],
)
def test_each_limit(usage: Usage, limits: Limits, why: str | None) -> None:
    assert worn(usage, limits) == why


@given(st.builds(Usage, st.integers(0, 10**13), st.integers(0, 10**6), st.floats(0, 1e9)))
def test_without_limits_never(usage: Usage) -> None:
    assert worn(usage, Limits()) is None


@given(st.floats(1, 1e9), st.text(min_size=1))
def test_a_worker_grows_old_a_little_sooner_and_always_as_much(age_s: float, worker_id: str) -> None:
    limits = Limits(rss_bytes=1.0, runs=2, age_s=age_s)
    sooner = staggered(limits, worker_id)
    assert (1 - STAGGER) * age_s <= (sooner.age_s or 0) <= age_s
    assert (sooner.rss_bytes, sooner.runs) == (1.0, 2)
    assert staggered(limits, worker_id) == sooner


def test_those_of_one_machine_do_not_grow_old_together() -> None:
    ages = sorted(staggered(Limits(age_s=86400.0), f"node-gpu{n}").age_s or 0 for n in range(8))
    assert min(later - sooner for sooner, later in pairwise(ages)) > 10, ages


def test_without_an_age_limit_there_is_none() -> None:
    assert staggered(Limits(runs=3), "w") == Limits(runs=3)
