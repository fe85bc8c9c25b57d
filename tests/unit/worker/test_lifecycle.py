"""The life of a ComfyUI process: whatever happens, it is started again in time, or an operator is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import IllegalTransition
from orchestrator.worker.supervisor.lifecycle import (
    BACKOFF_MAX_S,
    TRANSITIONS,
    Happening,
    Life,
    Phase,
    Tolerance,
    advance,
    backoff_s,
)

TOLERANCE = Tolerance(failures=3, window_s=100.0)
ALIVE = {Phase.BOOTING, Phase.SERVING, Phase.WORN, Phase.RETIRED, Phase.CONDEMNED}


def live(*happenings: Happening, every_s: float = 0.0, tolerance: Tolerance = TOLERANCE) -> Life:
    life = Life()
    for number, happening in enumerate(happenings):
        life = advance(life, happening, number * every_s, tolerance, happening.value)
    return life


UP = (Happening.SPAWN, Happening.ANSWER)


def test_every_phase_is_reached_and_every_happening_used() -> None:
    assert set(TRANSITIONS.values()) == set(Phase)
    assert {happening for _, happening in TRANSITIONS} == set(Happening)


def test_one_that_dies_is_started_again_after_a_moment() -> None:
    life = live(*UP, Happening.DIE)
    assert (life.phase, life.due, life.note) == (Phase.ABSENT, 1.0, "die")


def test_one_that_hangs_counts_once_not_again_as_it_is_killed() -> None:
    life = live(*UP, Happening.FAULT, Happening.DIE)
    assert (life.phase, len(life.failures), life.due) == (Phase.ABSENT, 1, 1.0)


def test_one_that_was_retired_is_replaced_at_once_and_is_no_failure() -> None:
    life = live(*UP, Happening.WEAR, Happening.RETIRE, Happening.DIE, every_s=1.0)
    assert (life.phase, life.failures, life.due) == (Phase.ABSENT, (), 4.0)


def test_one_that_dies_while_it_drains_is_a_failure() -> None:
    assert len(live(*UP, Happening.WEAR, Happening.DIE).failures) == 1


def test_too_many_failures_are_left_to_an_operator_who_may_have_it_tried_anew() -> None:
    crash = (*UP, Happening.DIE)
    life = live(*crash * 3)
    assert life.phase is Phase.QUARANTINED
    assert life.note == "die"
    again = advance(life, Happening.RESUME, 50.0, TOLERANCE)
    assert (again.phase, again.failures, again.due) == (Phase.ABSENT, (), 50.0)
    assert live(*crash * 3, every_s=20.0).phase is Phase.ABSENT  # they lie too far apart


@given(st.integers(0, 10_000))
def test_the_delay_grows_and_is_bounded(failures: int) -> None:
    assert 0.0 <= backoff_s(failures) <= backoff_s(failures + 1) <= BACKOFF_MAX_S


steps = st.lists(
    st.tuples(st.sampled_from([each for each in Happening if each is not Happening.GIVE_UP]), st.floats(0.0, 50.0)),
    max_size=60,
)


@given(steps)
def test_whatever_happens(story: list[tuple[Happening, float]]) -> None:
    life, now = Life(), 0.0
    for happening, later in story:
        now += later
        try:
            moved = advance(life, happening, now, TOLERANCE, happening.value)
        except IllegalTransition:
            assert (life.phase, happening) not in TRANSITIONS
            continue
        if happening in (Happening.SPAWN, Happening.ADOPT):
            assert life.phase is Phase.ABSENT, "there are never two processes"
        assert (moved.phase in ALIVE) == (happening is not Happening.DIE and moved.phase in ALIVE)
        assert len(moved.failures) <= TOLERANCE.failures
        assert all(now - at < TOLERANCE.window_s for at in moved.failures)
        if moved.phase is Phase.ABSENT:
            assert len(moved.failures) < TOLERANCE.failures, "that should be quarantine"
            assert now <= moved.due <= now + BACKOFF_MAX_S, "the next start is never far off"
        if moved.phase is Phase.QUARANTINED:
            assert len(moved.failures) == TOLERANCE.failures
        life = moved


@given(steps)
def test_from_everywhere_a_way_leads_back_to_service(story: list[tuple[Happening, float]]) -> None:
    life, now = Life(), 0.0
    for happening, later in story:
        now += later
        if (life.phase, happening) in TRANSITIONS:
            life = advance(life, happening, now, TOLERANCE)
    way = {
        Phase.BOOTING: Happening.ANSWER,
        Phase.WORN: Happening.RETIRE,
        Phase.RETIRED: Happening.DIE,
        Phase.CONDEMNED: Happening.DIE,
        Phase.QUARANTINED: Happening.RESUME,
        Phase.ABSENT: Happening.SPAWN,
    }
    for _ in range(len(Phase)):
        if life.phase is not Phase.SERVING:
            life = advance(life, way[life.phase], now, TOLERANCE)
    assert life.phase is Phase.SERVING


def test_what_cannot_happen_is_a_bug() -> None:
    with pytest.raises(IllegalTransition):
        advance(Life(), Happening.DIE, 0.0, TOLERANCE)
