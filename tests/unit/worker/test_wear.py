"""When a ComfyUI that works is replaced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.worker.supervisor.wear import GB, Limits, Usage, worn


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
        (Usage(0, 0, 60.0), Limits(age_s=60.0), "it is 60 s old; recycle.age_s is 60"),
        (Usage(0, 0, 59.0), Limits(age_s=60.0), None),
    ],
)
def test_each_limit(usage: Usage, limits: Limits, why: str | None) -> None:
    assert worn(usage, limits) == why


@given(st.builds(Usage, st.integers(0, 10**13), st.integers(0, 10**6), st.floats(0, 1e9)))
def test_without_limits_never(usage: Usage) -> None:
    assert worn(usage, Limits()) is None
