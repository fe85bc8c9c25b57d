"""Moments and durations, as every document tells them."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(moment: float) -> str:
    """Unix seconds as ISO 8601 with a zone."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_or_null(moment: float | None) -> str | None:
    return None if moment is None else iso(moment)


def between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round(end - start, 3)
