"""Candidates: what the runs of a job come to, slot by slot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.domain.quality import Candidate, CandidateState
from orchestrator.domain.run import TERMINAL, Run, RunState


def candidates(runs: Iterable[Run]) -> list[Candidate]:
    """One a slot, by its last attempt. `runs`: of one job, oldest first."""
    return [_candidate(run) for _, run in sorted(latest(runs).items())]


def latest(runs: Iterable[Run]) -> Mapping[int, Run]:
    """The last attempt of each slot."""
    return {run.slot: run for run in runs}


def _candidate(run: Run) -> Candidate:
    if run.state not in TERMINAL:
        return Candidate(run.slot, CandidateState.PENDING)
    if run.state is RunState.SUCCEEDED:
        return Candidate(run.slot, CandidateState.SCORED, run.scores)
    return Candidate(run.slot, CandidateState.FAILED)
