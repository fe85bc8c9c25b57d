"""What a measurement gives. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value beside its target; `sense` says which side of the target is good."""

    name: str
    value: float
    unit: str
    target: float
    sense: Literal["at least", "at most"]
    how: str  # what was measured, with the counts that make it repeatable
    detail: str = ""  # absolute figures behind a ratio, other percentiles

    @property
    def met(self) -> bool:
        return self.value >= self.target if self.sense == "at least" else self.value <= self.target


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0..1) of the values do not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
