"""Run: one execution of a job's graph on one worker. Its id is the prompt_id there, and new for every attempt.

`attempt` is the fencing token: the store accepts a transition only from the attempt that it expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.domain.asset import Output
from orchestrator.domain.machine import reachable_ends
from orchestrator.domain.needs import Needs
from orchestrator.domain.quality import Score

DEFAULT_TENANT = "default"
"""On whose account a job is that names nobody."""


class RunState(StrEnum):
    QUEUED = "queued"  # in our queue
    ASSIGNED = "assigned"  # given to a worker: staging, or waiting behind what it executes
    RUNNING = "running"  # executing, or its outputs being collected
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # it would fail anywhere
    LOST = "lost"  # the worker went away or misbehaved: costs one retry
    RETURNED = "returned"  # taken back before it began: costs nothing
    CANCELED = "canceled"


class RunEvent(StrEnum):
    ASSIGN = "assign"
    START = "start"
    COMMIT = "commit"
    FAIL = "fail"
    LOSE = "lose"
    RETURN = "return"
    CANCEL = "cancel"


TRANSITIONS: Mapping[tuple[RunState, RunEvent], RunState] = {
    (RunState.QUEUED, RunEvent.ASSIGN): RunState.ASSIGNED,
    (RunState.QUEUED, RunEvent.FAIL): RunState.FAILED,  # no worker can ever do it
    (RunState.QUEUED, RunEvent.CANCEL): RunState.CANCELED,
    (RunState.ASSIGNED, RunEvent.START): RunState.RUNNING,
    (RunState.ASSIGNED, RunEvent.COMMIT): RunState.SUCCEEDED,  # it ended before its start was told
    (RunState.ASSIGNED, RunEvent.FAIL): RunState.FAILED,
    (RunState.ASSIGNED, RunEvent.LOSE): RunState.LOST,
    (RunState.ASSIGNED, RunEvent.RETURN): RunState.RETURNED,
    (RunState.ASSIGNED, RunEvent.CANCEL): RunState.CANCELED,
    (RunState.RUNNING, RunEvent.COMMIT): RunState.SUCCEEDED,
    (RunState.RUNNING, RunEvent.FAIL): RunState.FAILED,
    (RunState.RUNNING, RunEvent.LOSE): RunState.LOST,
    (RunState.RUNNING, RunEvent.CANCEL): RunState.CANCELED,
}

TERMINAL = reachable_ends(TRANSITIONS, RunState)


@dataclass(frozen=True, slots=True)
class Timings:
    """Unix seconds, by the store's clock, but for `executed_at` which the driver measures against `started_at`."""

    queued_at: float
    assigned_at: float | None = None
    staged_at: float | None = None  # inputs are on the worker and the graph is posted
    started_at: float | None = None
    executed_at: float | None = None
    ended_at: float | None = None  # outputs delivered and the run committed, or ended otherwise


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands in the store."""

    id: str
    job_id: str
    slot: int  # which candidate of the job
    attempt: int  # 1, 2, ... within the slot
    state: RunState
    timings: Timings
    worker: str | None = None
    reasons: Mapping[str, Any] = field(default_factory=dict[str, Any])  # why this worker and not the others
    outcome: str | None = None  # why it ended as it did, in words; None while it goes well
    load_s: float | None = None  # estimated share of execution spent loading models
    charged_s: float = 0.0  # seconds of its worker that it has had
    cost: float | None = None  # dollars for them, where the worker's rate is known
    lock: str | None = None  # digest of the lock that its worker conforms to
    outputs: tuple[Output, ...] = ()  # of a candidate: they are the job's once it is chosen
    scores: Mapping[str, Score] = field(default_factory=dict[str, Score])  # of a candidate, by dimension
    scoring_s: float = 0.0  # the share of execution that went into them


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """What the scheduler knows of a queued run; small, as there may be a million."""

    run_id: str
    job_id: str
    attempt: int
    pool: str
    priority: str
    arrived_at: float  # of the job: a retry does not lose its place
    profile: str  # key under which execution times are learned (workflow@version, or the graph's shape)
    needs: Needs
    avoid: tuple[str, ...] = ()  # workers that already failed it: tried again only if there is no other
    tenant: str = DEFAULT_TENANT
    deadline_s: float | None = None  # so long after its arrival its job expires
