"""The life of one worker's ComfyUI process as a state machine. Pure.

A phase says what is to be done: start one, wait for it, use it, let it finish, end it, kill it, or leave it to an
operator. Whoever carries that out tells what happened, and when; times are seconds of any clock that only rises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.domain import machine

BACKOFF_S = 1.0  # after the first failure; twice as long after each more
BACKOFF_MAX_S = 60.0


class Phase(StrEnum):
    ABSENT = "absent"  # there is none: start one when it is due
    BOOTING = "booting"  # started: wait until it answers
    SERVING = "serving"  # answers: use it
    WORN = "worn"  # answers: replace it once what it executes is done
    RETIRED = "retired"  # needed no more: ask it to end, and kill it if it does not
    CONDEMNED = "condemned"  # of no use any more: kill it
    QUARANTINED = "quarantined"  # failed too often: start none until an operator says so


class Happening(StrEnum):
    SPAWN = "spawn"  # it was started, by an earlier agent perhaps
    ADOPT = "adopt"  # one of an earlier agent was found, and answers
    ANSWER = "answer"  # it answers
    WEAR = "wear"  # it is too large, too old, has run enough, or an operator wants a fresh one
    RETIRE = "retire"  # what it executed is done, and it is not to be used any more
    FAULT = "fault"  # it hangs, its device is broken, or it is not fit for work
    DIE = "die"  # its process has ended
    GIVE_UP = "give_up"  # that was one failure too many
    RESUME = "resume"  # an operator wants it tried again


TRANSITIONS: Mapping[tuple[Phase, Happening], Phase] = {
    (Phase.ABSENT, Happening.SPAWN): Phase.BOOTING,
    (Phase.ABSENT, Happening.ADOPT): Phase.SERVING,
    (Phase.ABSENT, Happening.FAULT): Phase.ABSENT,  # it could not even be started
    (Phase.ABSENT, Happening.GIVE_UP): Phase.QUARANTINED,
    (Phase.BOOTING, Happening.ANSWER): Phase.SERVING,
    (Phase.BOOTING, Happening.RETIRE): Phase.RETIRED,
    (Phase.BOOTING, Happening.FAULT): Phase.CONDEMNED,
    (Phase.BOOTING, Happening.DIE): Phase.ABSENT,
    (Phase.SERVING, Happening.WEAR): Phase.WORN,
    (Phase.SERVING, Happening.RETIRE): Phase.RETIRED,
    (Phase.SERVING, Happening.FAULT): Phase.CONDEMNED,
    (Phase.SERVING, Happening.DIE): Phase.ABSENT,
    (Phase.WORN, Happening.WEAR): Phase.WORN,
    (Phase.WORN, Happening.RETIRE): Phase.RETIRED,
    (Phase.WORN, Happening.FAULT): Phase.CONDEMNED,
    (Phase.WORN, Happening.DIE): Phase.ABSENT,
    (Phase.RETIRED, Happening.DIE): Phase.ABSENT,
    (Phase.CONDEMNED, Happening.DIE): Phase.ABSENT,
    (Phase.QUARANTINED, Happening.RESUME): Phase.ABSENT,
}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many failures within which time lead to quarantine."""

    failures: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Life:
    """`due`: when the next one may be started. `note`: why it is in this phase, in words."""

    phase: Phase = Phase.ABSENT
    due: float = 0.0
    failures: tuple[float, ...] = ()
    note: str = ""


def advance(life: Life, happening: Happening, now: float, tolerance: Tolerance, note: str = "") -> Life:
    """What becomes of it. A failure is a fault, or an end that nobody asked for; it delays the next start, and the
    last one of too many leads to quarantine. Raises IllegalTransition."""
    phase = machine.advance(TRANSITIONS, life.phase, happening)
    unasked = happening is Happening.DIE and life.phase not in (Phase.RETIRED, Phase.CONDEMNED)
    failures = life.failures
    if happening is Happening.RESUME:
        failures = ()
    elif unasked or happening is Happening.FAULT:
        failures = (*failures, now)
    failures = tuple(at for at in failures if now - at < tolerance.window_s)
    moved = Life(phase, life.due, failures, note or life.note)
    if phase is not Phase.ABSENT:
        return moved
    if len(failures) >= tolerance.failures:
        return replace(moved, phase=machine.advance(TRANSITIONS, phase, Happening.GIVE_UP))
    failed = life.phase not in (Phase.RETIRED, Phase.QUARANTINED)
    return replace(moved, due=now + backoff_s(len(failures)) if failed else now)


def backoff_s(failures: int) -> float:
    """How long to wait before the next start, after so many recent failures."""
    return min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** min(failures - 1, 32)) if failures else 0.0
