"""Timers: what is to happen when time has passed and nothing else has happened."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Timers:
    """Actions by time, in order; equal times in order of entry."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Callable[[Any, float], None], Any]] = []
        self._count = 0

    def at(self, time: float, action: Callable[[T, float], None], target: T) -> None:
        """`action(target, now)` once `time` has come."""
        self._count += 1
        heapq.heappush(self._entries, (time, self._count, action, target))

    def run(self, now: float) -> None:
        while self._entries and self._entries[0][0] <= now:
            _, _, action, target = heapq.heappop(self._entries)
            action(target, now)

    @property
    def next_at(self) -> float | None:
        return self._entries[0][0] if self._entries else None
