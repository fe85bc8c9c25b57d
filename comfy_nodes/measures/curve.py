"""From a raw figure to a value of 0..1, by two points that a person can read."""

from __future__ import annotations

import math


def falling(raw: float, good: float, bad: float) -> float:
    """A logistic that falls: 0.9 at `good`, 0.1 at `bad`, so that it never saturates and order is kept."""
    return _logistic((raw - good) / (bad - good))


def rising(raw: float, bad: float, good: float) -> float:
    """A logistic that rises: 0.1 at `bad`, 0.9 at `good`."""
    return _logistic((good - raw) / (good - bad))


def harmless(raw: float, half: float, power: float = 2.0) -> float:
    """1 at 0, a half at `half`, for defects: what is too small to see costs next to nothing (Naka and Rushton 1966)."""
    return 1 / (1 + (max(0.0, raw) / half) ** power)


def _logistic(way: float) -> float:
    """0.9 where `way` is 0, 0.1 where it is 1."""
    steep = 2 * math.log(9)
    return 1 / (1 + math.exp(min(700.0, steep * (way - 0.5))))
