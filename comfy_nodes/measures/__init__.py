"""What a picture is worth, one module a dimension: pure functions on numpy arrays, without torch, files or clocks.

A measure takes pictures as `picture.prepare` gives them (H x W x 3, float32, 0..1) and answers a Measured: the raw
figure in its own unit, and the value 0..1 (1 is best) that a curve makes of it. What cannot be judged raises
Unscorable; what is plainly worthless (no structure, no face, NaN) is a value of 0 with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Measured:
    """One image's score: `value` 0..1, `raw` in the unit of the measure (None where there was nothing to measure)."""

    value: float
    raw: float | None
    reason: str = ""
    details: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Measure:
    """What a score was made with. `version` changes whenever the same picture could get another value."""

    dimension: str
    name: str
    version: int
    unit: str


class Unscorable(ValueError):
    """This image cannot be judged; the message says why and what to change."""


class Broken(Unscorable):
    """This is no picture any more: whatever it is judged for, it is worth 0."""
