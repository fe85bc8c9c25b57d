"""What the bench makes of what it measured."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.bench.figures import Figure, percentile


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(0, 1))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    need = math.ceil(share * len(values))
    assert found in values
    assert sum(value <= found for value in values) >= need
    assert sum(value < found for value in values) < max(need, 1)


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@pytest.mark.parametrize(("value", "sense", "met"), [(0.9, "at least", True), (0.8, "at least", False),
                                                     (5.0, "at most", True), (5.1, "at most", False)])  # fmt: skip
def test_a_target_is_met_from_its_good_side(value: float, sense: str, met: bool) -> None:
    target = 0.9 if sense == "at least" else 5.0
    assert Figure("f", value, "x", target, sense, "how").met is met  # pyright: ignore[reportArgumentType]
