"""Quality: what a job's candidates are judged by, and what is known of each. See quality/gate.py for the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Patch = Mapping[str, Mapping[str, Any]]
"""Inputs of a run that differ from its job's graph: node id -> input -> value."""


class Otherwise(StrEnum):
    """What becomes of a job whose reruns are spent and that has too few good candidates."""

    FAIL = "fail"
    FLAG = "flag"  # the best are delivered, marked
    REVIEW = "review"  # a person decides


class Unscored(StrEnum):
    """What a score that could not be computed counts as."""

    MISS = "miss"  # the candidate is not good enough
    PASS = "pass"  # it is judged by its other scores


class Enough(StrEnum):
    """When a job is judged."""

    ALL = "all"  # once every candidate has ended: the best of them are delivered
    FIRST = "first"  # as soon as enough are good: the others are canceled


@dataclass(frozen=True, slots=True)
class Rule:
    """Of one dimension. `given`: inputs of its scorer, literal or "$param"."""

    minimum: float | None = None  # 0..1; None: it only ranks
    weight: float = 1.0
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Policy:
    """The gate of a workflow, as registered, with what a job may set of it filled in."""

    rules: Mapping[str, Rule]  # by dimension
    images: tuple[str, ...]  # output nodes that are judged
    candidates: int = 1
    deliver: int = 1
    reruns: int = 0  # more candidates, one by one, while too few are good
    enough: Enough = Enough.ALL
    unscored: Unscored = Unscored.MISS
    otherwise: Otherwise = Otherwise.FAIL
    review_s: float = 86400.0  # what a person has for deciding
    unreviewed: Otherwise = Otherwise.FAIL  # what happens when nobody did: FAIL or FLAG


@dataclass(frozen=True, slots=True)
class WorkflowGate:
    """The gate as a workflow's version has it."""

    policy: Policy
    most: int  # candidates that a job may ask for
    reseed: str | None = None  # the param that differs from candidate to candidate
    on_rerun: Mapping[str, Any] = field(default_factory=dict[str, Any])  # params of the candidates that come later


@dataclass(frozen=True, slots=True)
class Redraw:
    """How candidates differ: the inputs that take a fresh integer within `low` and `high`, and what reruns change."""

    inputs: tuple[tuple[str, str], ...]
    low: int
    high: int
    on_rerun: Patch = field(default_factory=dict[str, Mapping[str, Any]])


@dataclass(frozen=True, slots=True)
class Score:
    """One dimension of one candidate: of several images, the worst one's. None: it could not be computed, and why."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """The policy of one job, the node that reports its scores, and how its candidates come to differ: None where there
    is only ever one."""

    policy: Policy
    report: str
    redraw: Redraw | None = None


class CandidateState(StrEnum):
    PENDING = "pending"  # a run of it waits or executes
    SCORED = "scored"  # a run of it is committed
    FAILED = "failed"  # its runs failed, or were lost too often


@dataclass(frozen=True, slots=True)
class Candidate:
    """One slot of a job."""

    slot: int
    state: CandidateState
    scores: Mapping[str, Score] = field(default_factory=dict[str, Score])


class JudgementState(StrEnum):
    WAITING = "waiting"  # for candidates that have not ended
    RERUNNING = "rerunning"  # too few were good, and more were started
    ACCEPTED = "accepted"
    FLAGGED = "flagged"  # delivered, though not all are good
    REVIEW = "review"  # waits for a person
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gate said last of a job. `chosen`: slots, the best first."""

    state: JudgementState
    why: str = ""
    chosen: tuple[int, ...] = ()
