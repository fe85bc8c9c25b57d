"""Reads what the node pack reports of a run's pictures. Pure. The format is that of report.schema.json."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from orchestrator.domain.quality import Score

VERSION = 1


def read_scores(reports: Iterable[Mapping[str, Any]]) -> dict[str, Score]:
    """By dimension, of several pictures the worst one's. What is not understood could not be computed."""
    scores: dict[str, Score] = {}
    for report in reports:
        known = report.get("version") == VERSION
        for entry in _objects(report.get("scores")):
            dimension = entry.get("dimension")
            if not isinstance(dimension, str):
                continue
            found = _score(entry) if known else Score(None, f"its report is of version {report.get('version')!r}")
            scores[dimension] = min(scores.get(dimension, found), found, key=_goodness)
    return scores


def scoring_s(reports: Iterable[Mapping[str, Any]]) -> float:
    """Seconds that the scorers took."""
    return sum(_number(entry.get("seconds")) or 0.0 for report in reports for entry in _objects(report.get("scores")))


def _score(entry: Mapping[str, Any]) -> Score:
    found = [_of_image(image) for image in _objects(entry.get("images"))]
    return min(found, key=_goodness, default=Score(None, "no picture was scored"))


def _of_image(image: Mapping[str, Any]) -> Score:
    value = _number(image.get("value"))
    if value is None or not 0.0 <= value <= 1.0:
        return Score(None, str(image.get("reason") or f"its value is {image.get('value')!r}"))
    return Score(value)


def _goodness(score: Score) -> float:
    """One that could not be computed is the worst."""
    return -1.0 if score.value is None else score.value


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        for item in cast("list[object]", value):
            if isinstance(item, dict):
                yield cast("dict[str, Any]", item)
