"""judge(): what to do about a job, from what its candidates scored. Pure.

The same candidates give the same verdict, in whatever order they ended. It never asks for more runs than the policy
allows, and delivers what is below a threshold only where the policy says `flag`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.domain.quality import Candidate, CandidateState, Enough, Otherwise, Policy, Rule, Score, Unscored


@dataclass(frozen=True, slots=True)
class Wait:
    """For candidates that have not ended."""


@dataclass(frozen=True, slots=True)
class Accept:
    """`slots` are delivered, the best first. `flagged`: not all of them are good."""

    slots: tuple[int, ...]
    why: str
    flagged: bool = False


@dataclass(frozen=True, slots=True)
class Rerun:
    """So many more candidates."""

    count: int
    why: str


@dataclass(frozen=True, slots=True)
class Fail:
    why: str


@dataclass(frozen=True, slots=True)
class Review:
    """A person decides whether `slots` are delivered, the best first."""

    slots: tuple[int, ...]
    why: str


Verdict: TypeAlias = Wait | Accept | Rerun | Fail | Review


@dataclass(frozen=True, slots=True)
class Standing:
    """A scored candidate as the gate sees it. `score`: the weighted mean, 0..1. `misses`: why it is not good."""

    slot: int
    score: float
    misses: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.misses


def judge(policy: Policy, candidates: Sequence[Candidate]) -> Verdict:
    """`candidates`: one a slot, first ones and reruns alike."""
    ranked = rank(policy, candidates)
    good = [standing for standing in ranked if standing.good]
    pending = any(candidate.state is CandidateState.PENDING for candidate in candidates)
    if len(good) >= policy.deliver and (policy.enough is Enough.FIRST or not pending):
        told = f"{len(good)} of {len(candidates)} candidates are good: the best {policy.deliver} by weighted score"
        return Accept(_slots(good, policy), told)
    if pending:
        return Wait()
    short = f"{len(good)} of {len(candidates)} candidates are good, and {policy.deliver} wanted{_worst(ranked)}"
    left = policy.candidates + policy.reruns - len(candidates)
    if left > 0:
        return Rerun(min(left, policy.deliver - len(good)), short)
    return settle(policy, policy.otherwise, ranked, short)


def settle(policy: Policy, otherwise: Otherwise, ranked: Sequence[Standing], why: str) -> Verdict:
    """What `otherwise` comes to when too few candidates are good. Without any scored one there is only failure."""
    if not ranked or otherwise is Otherwise.FAIL:
        return Fail(why)
    if otherwise is Otherwise.REVIEW:
        return Review(_slots(ranked, policy), why)
    return Accept(_slots(ranked, policy), why, flagged=True)


def rank(policy: Policy, candidates: Sequence[Candidate]) -> list[Standing]:
    """The scored candidates: good ones first, then by weighted score; of equals the lower slot."""
    scored = (candidate for candidate in candidates if candidate.state is CandidateState.SCORED)
    return sorted(
        (_standing(policy, candidate) for candidate in scored),
        key=lambda standing: (not standing.good, -standing.score, standing.slot),
    )


def mark(rule: Rule, score: Score | None) -> str:
    """How one dimension of a candidate went: pass, miss or unscored."""
    if score is None or score.value is None:
        return "unscored"
    return "miss" if rule.minimum is not None and score.value < rule.minimum else "pass"


def _standing(policy: Policy, candidate: Candidate) -> Standing:
    misses: list[str] = []
    total = weights = 0.0
    for dimension, rule in policy.rules.items():
        score = candidate.scores.get(dimension)
        if score is None or score.value is None:
            if policy.unscored is Unscored.PASS:
                continue
            reason = score.reason if score else "the report does not have it"
            misses.append(f"{dimension} could not be scored: {reason}")
        elif rule.minimum is not None and score.value < rule.minimum:
            misses.append(f"{dimension} is {score.value:.2f}, and at least {rule.minimum:.2f} is wanted")
        total += rule.weight * ((score.value if score else None) or 0.0)
        weights += rule.weight
    return Standing(candidate.slot, total / weights if weights else 0.0, tuple(misses))


def _slots(ranked: Sequence[Standing], policy: Policy) -> tuple[int, ...]:
    return tuple(standing.slot for standing in ranked[: policy.deliver])


def _worst(ranked: Sequence[Standing]) -> str:
    """What the best of those that are not good lacks, as the end of a sentence."""
    nearest = next((standing for standing in ranked if not standing.good), None)
    return f"; the best of the others: {'; '.join(nearest.misses)}" if nearest else ""
