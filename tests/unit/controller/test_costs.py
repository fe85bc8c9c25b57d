"""What of a run's charge falls into the time that is asked for."""

from __future__ import annotations

import pytest

from orchestrator.controller.costs import share_within
from orchestrator.domain.run import Run, RunState, Timings


def charged(started_at: float | None, seconds: float) -> Run:
    timings = Timings(queued_at=0.0, started_at=started_at)
    return Run("r", "j", slot=0, attempt=1, state=RunState.SUCCEEDED, timings=timings, charged_s=seconds)


@pytest.mark.parametrize(
    ("started_at", "seconds", "share"),
    [
        (3600.0, 60.0, 1.0),
        (3600.0 - 90.0, 120.0, 0.25),  # it began in the hour before
        (7200.0 - 30.0, 120.0, 0.25),  # and this one went on in the next
        (0.0, 14400.0, 0.25),
        (0.0, 60.0, 0.0),
        (None, 0.0, 0.0),  # it never executed
    ],
)
def test_only_what_it_had_in_that_time_counts(started_at: float | None, seconds: float, share: float) -> None:
    assert share_within(charged(started_at, seconds), 3600.0, 7200.0) == pytest.approx(share)
