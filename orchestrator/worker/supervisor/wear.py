"""When a ComfyUI is replaced though it works: memory leaks of 850 MB to 10 GB a run are reported. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b

GB = 1_000_000_000
STAGGER = 0.1  # the largest share of its age limit by which a worker is replaced sooner


@dataclass(frozen=True, slots=True)
class Limits:
    """None: never for that."""

    rss_bytes: float | None = None
    runs: int | None = None
    age_s: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process and those that it started: resident bytes, runs that it has executed, seconds since its start."""

    rss_bytes: int
    runs: int
    age_s: float


def staggered(limits: Limits, worker_id: str) -> Limits:
    """Those of one worker: what was started together must not be away together. Always the same for one worker."""
    if limits.age_s is None:
        return limits
    sooner = STAGGER * int.from_bytes(blake2b(worker_id.encode("utf-8", "replace"), digest_size=4).digest()) / 2**32
    return replace(limits, age_s=limits.age_s * (1 - sooner))


def worn(usage: Usage, limits: Limits) -> str | None:
    """Why it is to be replaced, in words. One that has run nothing is not too large: the next would be as large."""
    if limits.rss_bytes is not None and usage.runs and usage.rss_bytes > limits.rss_bytes:
        held, allowed = usage.rss_bytes / GB, limits.rss_bytes / GB
        return f"it holds {held:.2f} GB of memory after {_times(usage.runs)}; recycle.rss_gb is {allowed:g}"
    if limits.runs is not None and usage.runs >= limits.runs:
        return f"it has executed {_times(usage.runs)}; recycle.runs is {limits.runs}"
    if limits.age_s is not None and usage.age_s >= limits.age_s:
        return f"it is {usage.age_s:.0f} s old; recycle.age_s, staggered, is {limits.age_s:.0f}"
    return None


def _times(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"
