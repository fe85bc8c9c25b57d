"""Scores, the report that is made of them (report.schema.json), and thresholds on them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .measures import Measure, Measured

REPORT_VERSION = 1

_THRESHOLD = re.compile(r"([a-z][a-z0-9_]*)\s*(?::|=|>=)\s*([0-9]+\.?[0-9]*|\.[0-9]+)")


@dataclass(frozen=True, slots=True)
class Failed:
    """The scorer failed on an image, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Score:
    """What one scorer says of each image of a batch, and what that took."""

    measure: Measure
    images: tuple[Measured | Failed, ...]
    seconds: float


def report(scores: Iterable[Score]) -> dict[str, Any]:
    """The score report: plain JSON, also where a measure gave NaN."""
    return {"version": REPORT_VERSION, "scores": [_entry(score) for score in scores]}


def as_text(scores: Iterable[Score]) -> str:
    """The scores as a person reads them: one line a dimension, with a value, or else the reason, for each image."""
    return "\n".join(f"{score.measure.dimension}: {', '.join(map(_told, score.images))}" for score in scores)


def judged(measured: Measured) -> Measured | Failed:
    """The measure's answer, if it is a number of 0..1."""
    if not math.isfinite(measured.value):
        return Failed("the measure gave NaN: its weights may be damaged, or overflow in half precision")
    return measured


def parse_thresholds(text: str) -> dict[str, float]:
    """Least values by dimension, of a text like "sharpness: 0.35, artifacts: 0.6". Raises ValueError for another."""
    thresholds: dict[str, float] = {}
    for part in filter(None, map(str.strip, re.split(r"[,;\n]", text))):
        match = _THRESHOLD.fullmatch(part)
        if match is None or not 0 <= (least := float(match[2])) <= 1:
            raise ValueError(f"{part!r} is no threshold: write DIMENSION: VALUE with a value of 0 to 1")
        thresholds[match[1]] = least
    if not thresholds:
        raise ValueError("there is no threshold: write at least one, such as sharpness: 0.35")
    return thresholds


def passing(
    scores: Sequence[Score], thresholds: Mapping[str, float], images: int, *, unscored_pass: bool
) -> list[bool]:
    """Which of the images reach every threshold. Raises ValueError for a threshold on what was not scored at all."""
    missing = thresholds.keys() - {score.measure.dimension for score in scores}
    if missing:
        raise ValueError(
            f"no score of {', '.join(sorted(missing))} is connected: connect its node, or drop the threshold"
        )
    return [
        all(
            _passes(score.images[index] if index < len(score.images) else None, thresholds[dimension], unscored_pass)
            for score in scores
            if (dimension := score.measure.dimension) in thresholds
        )
        for index in range(images)
    ]


def _passes(image: Measured | Failed | None, least: float, unscored_pass: bool) -> bool:
    return image.value >= least if isinstance(image, Measured) else unscored_pass


def _told(image: Measured | Failed) -> str:
    if isinstance(image, Failed):
        return image.reason
    return f"{image.value:.2f} ({image.reason})" if image.reason else f"{image.value:.2f}"


def _entry(score: Score) -> dict[str, Any]:
    measure = score.measure
    return {
        "dimension": measure.dimension,
        "measure": f"{measure.name}/{measure.version}",
        "unit": measure.unit,
        "seconds": round(score.seconds, 4),
        "images": [_image(image) for image in score.images],
    }


def _image(image: Measured | Failed) -> dict[str, Any]:
    if isinstance(image, Failed):
        return {"value": None, "raw": None, "reason": image.reason}
    details = {name: _number(value) for name, value in image.details.items() if math.isfinite(value)}
    raw = None if image.raw is None or not math.isfinite(image.raw) else _number(image.raw)
    return {"value": _number(min(1.0, max(0.0, image.value))), "raw": raw, "reason": image.reason, "details": details}


def _number(value: float) -> float:
    return round(float(value), 6)
