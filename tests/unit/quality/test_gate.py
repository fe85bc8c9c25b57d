"""The gate: its promises over random candidates, and what it tells."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.quality import Candidate, CandidateState, Enough, Otherwise, Policy, Rule, Score, Unscored
from orchestrator.quality.gate import Accept, Fail, Rerun, Review, Wait, judge, rank

DIMENSIONS = ("sharpness", "artifacts", "face_fidelity")
values = st.floats(0, 1)
scores = st.builds(Score, st.one_of(st.none(), values), st.just("no weights"))
rules = st.dictionaries(
    st.sampled_from(DIMENSIONS), st.builds(Rule, st.one_of(st.none(), values), st.floats(0.1, 5)), min_size=1
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    candidates = draw(st.integers(1, 6))
    return Policy(
        rules=draw(rules), images=("9",), candidates=candidates, deliver=draw(st.integers(1, candidates)),
        reruns=draw(st.integers(0, 3)), enough=draw(st.sampled_from(Enough)),
        unscored=draw(st.sampled_from(Unscored)), otherwise=draw(st.sampled_from(Otherwise)),
    )  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> tuple[Policy, list[Candidate]]:
    policy = draw(policies())
    count = draw(st.integers(1, policy.candidates + policy.reruns))
    report = st.dictionaries(st.sampled_from(DIMENSIONS), scores)
    return policy, [
        Candidate(slot, state, draw(report) if state is CandidateState.SCORED else {})
        for slot in range(count)
        for state in [draw(st.sampled_from(CandidateState))]
    ]


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(case: tuple[Policy, list[Candidate]], rng: random.Random) -> None:
    policy, candidates = case
    shuffled = candidates[:]
    rng.shuffle(shuffled)
    assert judge(policy, shuffled) == judge(policy, candidates)


@given(cases())
def test_never_more_runs_than_the_budget(case: tuple[Policy, list[Candidate]]) -> None:
    policy, candidates = case
    verdict = judge(policy, candidates)
    if isinstance(verdict, Rerun):
        assert 1 <= verdict.count <= policy.candidates + policy.reruns - len(candidates)
        assert verdict.count <= policy.deliver


@given(cases())
def test_nothing_below_a_threshold_is_delivered_unless_it_is_flagged(case: tuple[Policy, list[Candidate]]) -> None:
    policy, candidates = case
    verdict = judge(policy, candidates)
    if isinstance(verdict, Accept) and not verdict.flagged:
        by_slot = {candidate.slot: candidate for candidate in candidates}
        assert len(verdict.slots) == policy.deliver
        for slot in verdict.slots:
            for dimension, rule in policy.rules.items():
                score = by_slot[slot].scores.get(dimension, Score(None))
                if score.value is None:
                    assert policy.unscored is Unscored.PASS
                else:
                    assert rule.minimum is None or score.value >= rule.minimum


@given(cases())
def test_the_chosen_are_the_best(case: tuple[Policy, list[Candidate]]) -> None:
    policy, candidates = case
    verdict = judge(policy, candidates)
    if isinstance(verdict, Accept | Review):
        standings = {standing.slot: standing for standing in rank(policy, candidates)}
        assert len(set(verdict.slots)) == len(verdict.slots) <= policy.deliver
        worst = min((standings[slot].good, standings[slot].score) for slot in verdict.slots)
        left = [standings[slot] for slot in standings.keys() - set(verdict.slots)]
        assert all((standing.good, standing.score) <= worst for standing in left)


@given(cases())
def test_it_waits_for_what_has_not_ended_unless_enough_are_good(case: tuple[Policy, list[Candidate]]) -> None:
    policy, candidates = case
    verdict = judge(policy, candidates)
    pending = any(candidate.state is CandidateState.PENDING for candidate in candidates)
    enough = isinstance(verdict, Accept) and policy.enough is Enough.FIRST and not verdict.flagged
    assert isinstance(verdict, Wait) == (pending and not enough)


@given(policies(), st.data())
def test_it_comes_to_an_end(policy: Policy, data: st.DataObject) -> None:
    """However the candidates turn out, within the budget of runs there is a verdict that ends the job."""
    candidates = [Candidate(slot, CandidateState.PENDING) for slot in range(policy.candidates)]
    while True:
        candidates = [
            Candidate(candidate.slot, CandidateState.SCORED, {name: data.draw(scores) for name in policy.rules})
            if data.draw(st.booleans())
            else replace(candidate, state=CandidateState.FAILED)
            for candidate in candidates
        ]
        verdict = judge(policy, candidates)
        if not isinstance(verdict, Rerun):
            assert isinstance(verdict, Accept | Fail | Review)
            return
        last = len(candidates)
        candidates += [Candidate(last + n, CandidateState.PENDING) for n in range(verdict.count)]
        assert len(candidates) <= policy.candidates + policy.reruns


def scored(slot: int, **values: float) -> Candidate:
    return Candidate(slot, CandidateState.SCORED, {name: Score(value) for name, value in values.items()})


def test_weights_decide_among_good_ones() -> None:
    policy = Policy({"sharpness": Rule(0.3, 1), "face_fidelity": Rule(0.6, 3)}, ("9",), candidates=2)
    verdict = judge(policy, [scored(0, sharpness=1.0, face_fidelity=0.7), scored(1, sharpness=0.4, face_fidelity=0.95)])
    assert verdict == Accept((1,), "2 of 2 candidates are good: the best 1 by weighted score")


def test_a_failure_tells_what_the_best_lacked() -> None:
    policy = Policy({"sharpness": Rule(0.5)}, ("9",), candidates=2)
    verdict = judge(policy, [scored(0, sharpness=0.2), scored(1, sharpness=0.4)])
    assert verdict == Fail(
        "0 of 2 candidates are good, and 1 wanted; the best of the others: "
        "sharpness is 0.40, and at least 0.50 is wanted"
    )


def test_a_scorer_that_failed_is_told_with_its_reason() -> None:
    policy = Policy({"face_fidelity": Rule(0.5)}, ("9",), otherwise=Otherwise.REVIEW)
    candidate = Candidate(0, CandidateState.SCORED, {"face_fidelity": Score(None, "no face was found")})
    verdict = judge(policy, [candidate])
    assert isinstance(verdict, Review)
    assert "face_fidelity could not be scored: no face was found" in verdict.why


def test_without_any_picture_there_is_nothing_to_review() -> None:
    policy = Policy({"sharpness": Rule(0.5)}, ("9",), otherwise=Otherwise.REVIEW)
    assert isinstance(judge(policy, [Candidate(0, CandidateState.FAILED)]), Fail)
