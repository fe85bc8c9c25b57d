"""What the runs of a job come to."""

from __future__ import annotations

from orchestrator.domain.quality import Candidate, CandidateState, Score
from orchestrator.domain.run import Run, RunState, Timings
from orchestrator.quality.candidates import candidates

SCORES = {"sharpness": Score(0.5)}


def run(slot: int, attempt: int, state: RunState) -> Run:
    scores = SCORES if state is RunState.SUCCEEDED else {}
    return Run(f"{slot}-{attempt}", "j", slot, attempt, state, Timings(0.0), scores=scores)


def test_the_last_attempt_of_a_slot_counts() -> None:
    runs = [
        run(0, 1, RunState.LOST), run(1, 1, RunState.RUNNING), run(2, 1, RunState.FAILED), run(3, 1, RunState.LOST),
        run(0, 2, RunState.SUCCEEDED), run(3, 2, RunState.QUEUED),
    ]  # fmt: skip
    assert candidates(runs) == [
        Candidate(0, CandidateState.SCORED, SCORES),
        Candidate(1, CandidateState.PENDING),
        Candidate(2, CandidateState.FAILED),
        Candidate(3, CandidateState.PENDING),
    ]


def test_what_was_canceled_or_lost_for_good_has_failed() -> None:
    found = candidates([run(0, 1, RunState.CANCELED), run(1, 3, RunState.LOST)])
    assert [candidate.state for candidate in found] == [CandidateState.FAILED] * 2
