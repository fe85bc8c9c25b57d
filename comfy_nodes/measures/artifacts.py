"""artifacts: what no camera and no painter would have made. The defects themselves are in `defects`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from . import Measure, Measured, curve
from .defects import banding, blockiness, burnt, checkerboard, impulses, ringing
from .noise import noise_sigma
from .picture import Picture, large_enough, luma

MEASURE = Measure("artifacts", "defects", 1, "share of visible defects")

_UNIFORM = 1.5 / 255
_HALF: Mapping[str, float] = {  # where a defect alone halves the value
    "blockiness": 0.45,
    "banding": 0.45,
    "checkerboard": 3.0 / 255,
    "impulses": 0.003,
    "noise": 5.5 / 255,
    "ringing": 0.35,
    "burnt": 0.35,
}


def artifacts(picture: Picture) -> Measured:
    """How free it is of each defect, multiplied; `raw` is what that leaves to 1. A dead picture is worth 0."""
    plane = luma(large_enough(picture))
    if dead := _dead(float(plane.min()), float(plane.max())):
        return Measured(0.0, 1.0, dead)
    found = {
        "blockiness": blockiness(plane),
        "banding": banding(picture),
        "checkerboard": checkerboard(plane),
        "impulses": impulses(plane),
        "noise": noise_sigma(plane),
        "ringing": ringing(plane),
        "burnt": burnt(picture),
    }
    value = math.prod(curve.harmless(found[name], half) for name, half in _HALF.items())
    return Measured(value, 1 - value, details=found)


def _dead(darkest: float, brightest: float) -> str | None:
    if brightest - darkest > _UNIFORM:
        return None
    if brightest < _UNIFORM:
        return "the image is black"
    return "the image is of one colour"
