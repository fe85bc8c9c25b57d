"""Jobs that have a gate: what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.asset import Output
from orchestrator.domain.job import JobError
from orchestrator.domain.quality import Judgement, Patch


@dataclass(frozen=True, slots=True)
class Deliver:
    """The job succeeds with these; what of it still waits or executes is stopped."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class MoreCandidates:
    patches: tuple[Patch, ...]


@dataclass(frozen=True, slots=True)
class AskPerson:
    """The job is listed among the reviews; nobody needs to look at it again within `within_s`."""

    within_s: float


@dataclass(frozen=True, slots=True)
class FailJob:
    error: JobError


Conclusion = Deliver | MoreCandidates | AskPerson | FailJob


@dataclass(frozen=True, slots=True)
class PendingReview:
    job_id: str
    due_in_s: float  # less than nothing: it is overdue


class JudgeStore(Protocol):
    """What becomes of jobs that have a gate."""

    def unjudged(self) -> AsyncIterator[str]:
        """Jobs of which a candidate has ended since they were judged: those there are, then each as it comes."""
        ...

    async def conclude(self, job_id: str, ended: int, judgement: Judgement, conclusion: Conclusion | None) -> bool:
        """Carries out what was decided when `ended` candidates had come to their end (None: nothing is to be done
        yet). False, and nothing done, if more have since, or the job is not to go on."""
        ...

    async def reviews(self) -> Sequence[PendingReview]:
        """Those that wait for a person, the first to be due first."""
        ...
