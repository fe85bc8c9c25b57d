"""What the node pack reports, and what of it counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.quality import Score
from orchestrator.quality.report import read_scores, scoring_s


def report(*scores: dict[str, Any], version: object = 1) -> dict[str, Any]:
    return {"version": version, "scores": list(scores)}


def scored(dimension: str, *values: float | None, reason: str = "", seconds: float = 0.5) -> dict[str, Any]:
    return {
        "dimension": dimension, "measure": f"{dimension}/1", "seconds": seconds,
        "images": [{"value": value, "raw": value, "reason": reason} for value in values],
    }  # fmt: skip


def test_the_worst_picture_of_a_run_counts() -> None:
    found = read_scores([report(scored("sharpness", 0.9, 0.2), scored("sharpness", 0.5), scored("artifacts", 0.8))])
    assert found == {"sharpness": Score(0.2), "artifacts": Score(0.8)}


def test_one_that_could_not_be_scored_is_the_worst_and_says_why() -> None:
    found = read_scores([report(scored("safety", 0.9), scored("safety", None, reason="no classifier in models/"))])
    assert found == {"safety": Score(None, "no classifier in models/")}


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf"), "0.5", True, None])
def test_a_value_that_is_none_is_no_score(value: Any) -> None:
    (score,) = read_scores([report(scored("sharpness", value))]).values()
    assert score.value is None or value is True
    assert score.value is not None or score.reason


def test_a_report_of_another_version_is_not_guessed_at() -> None:
    assert read_scores([report(scored("sharpness", 0.9), version=2)]) == {
        "sharpness": Score(None, "its report is of version 2")
    }


def test_what_scoring_took() -> None:
    assert scoring_s([report(scored("a", 1.0, seconds=0.25), scored("b", 1.0, seconds=0.5))]) == 0.75


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["scores", "images", "value"]), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["version", "scores"]), json_values | st.just(1)))
def test_nonsense_is_read_without_a_fault(document: dict[str, Any]) -> None:
    assert isinstance(read_scores([document]), dict)
    assert isinstance(scoring_s([document]), float | int)
