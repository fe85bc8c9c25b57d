"""Warm-up: a workflow that a worker with nothing to do executes once, to have its models loaded. No job, no result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Warmup:
    """`id` is its prompt_id on the worker."""

    id: str
    workflow: str
    graph: Mapping[str, Any]  # with defaults and drawn seeds
    outputs: tuple[str, ...]
    timeout_s: float


class WarmEnd(StrEnum):
    DONE = "done"
    FAILED = "failed"
    GIVEN_UP = "given_up"  # there was something to do


@dataclass(frozen=True, slots=True)
class Warmed:
    """How a warm-up ended, and why so."""

    workflow: str
    end: WarmEnd
    note: str = ""
