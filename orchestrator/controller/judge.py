"""Judge: asks the gate about each job whose candidates ended, and has the store carry out what it says.

It works while this controller leads, from what the store says alone: what a judge that died had not concluded is
concluded by the next one, and a verdict that was reached on less than the store knows by then is refused there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence

from orchestrator.controller.gating import more_candidates
from orchestrator.controller.leadership import Leadership
from orchestrator.controller.metrics import GATE_SCORES, GATE_VERDICTS, workflow_label
from orchestrator.domain.asset import Output
from orchestrator.domain.job import Job, JobError
from orchestrator.domain.quality import Candidate, CandidateState, Gate, Judgement, JudgementState
from orchestrator.errors import Busy, NotFound
from orchestrator.quality.candidates import candidates, latest
from orchestrator.quality.gate import Accept, Fail, Rerun, Review, Verdict, Wait, judge, mark, rank, settle
from orchestrator.store.port import AskPerson, Conclusion, Deliver, FailJob, MoreCandidates, Store
from orchestrator.telemetry import traces

log = logging.getLogger(__name__)

RETRY_S = 1.0
DUE_S = 2.0  # how often it is looked which reviews nobody did in time


class Judge:
    """Runs until cancelled. A store that cannot be reached makes it wait, not end."""

    def __init__(self, store: Store, leadership: Leadership) -> None:
        self._store = store
        self._leadership = leadership

    async def run(self) -> None:
        await self._leadership.while_leading(self._lead)

    async def _lead(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._judge_all())
            group.create_task(self._end_reviews())

    async def _judge_all(self) -> None:
        while True:
            try:
                async for job_id in self._store.unjudged():
                    await self._judge(job_id)
            except Busy as error:
                log.warning("jobs wait for their verdict: %s", error.message)
                await asyncio.sleep(RETRY_S)

    async def _judge(self, job_id: str) -> None:
        job = await self._job(job_id)
        if job is None or job.terminal or job.spec.gate is None:
            return
        known = candidates(job.runs)
        verdict = judge(job.spec.gate.policy, known)
        if await conclude(self._store, job, job.spec.gate, verdict):
            count_verdict(job, known, verdict)

    async def _end_reviews(self) -> None:
        while True:
            try:
                for review in await self._store.reviews():
                    if review.due_in_s <= 0:
                        await self._end_review(review.job_id)
            except Busy as error:
                log.warning("reviews wait for their end: %s", error.message)
            await asyncio.sleep(DUE_S)

    async def _end_review(self, job_id: str) -> None:
        job = await self._job(job_id)
        if job is None or job.terminal or job.spec.gate is None:
            return
        policy = job.spec.gate.policy
        why = f"nobody decided within {policy.review_s:g} s: {job.judgement.why if job.judgement else ''}"
        ranked = rank(policy, candidates(job.runs))
        await conclude(self._store, job, job.spec.gate, settle(policy, policy.unreviewed, ranked, why))

    async def _job(self, job_id: str) -> Job | None:
        try:
            return await self._store.job(job_id)
        except NotFound:  # it was forgotten meanwhile
            return None


async def conclude(store: Store, job: Job, gate: Gate, verdict: Verdict) -> bool:
    """Has the store carry the verdict out; False if more has happened to the job since it was read."""
    judgement, conclusion = _carried_out(job, gate, verdict)
    told = {"job": job.spec.id, "verdict": judgement.state.value, "ended": job.ended}
    with traces.span("judge", told, parent=job.spec.traceparent):
        done = await store.conclude(job.spec.id, job.ended, judgement, conclusion)
    if done and conclusion is not None:
        log.info("job %s: %s", job.spec.id, judgement.state, extra={"job": job.spec.id, "chosen": judgement.chosen})
    return done


def _carried_out(job: Job, gate: Gate, verdict: Verdict) -> tuple[Judgement, Conclusion | None]:
    match verdict:
        case Wait():
            return Judgement(JudgementState.WAITING), None
        case Accept(slots=slots, why=why, flagged=flagged):
            state = JudgementState.FLAGGED if flagged else JudgementState.ACCEPTED
            return Judgement(state, why, slots), Deliver(_outputs(job, slots))
        case Rerun(count=count, why=why):
            return Judgement(JudgementState.RERUNNING, why), MoreCandidates(
                more_candidates(gate, count, secrets.randbelow)
            )
        case Review(slots=slots, why=why):
            return Judgement(JudgementState.REVIEW, why, slots), AskPerson(gate.policy.review_s)
        case Fail(why=why):
            return Judgement(JudgementState.FAILED, why), FailJob(_missed(job, why))


def count_verdict(job: Job, known: Sequence[Candidate], verdict: Verdict) -> None:
    """For Prometheus: each candidate's scores once, when no more candidates are to come."""
    if isinstance(verdict, Wait):
        return
    workflow = workflow_label(job.spec.workflow)
    GATE_VERDICTS.labels(workflow, type(verdict).__name__.lower()).inc()
    if isinstance(verdict, Rerun) or job.spec.gate is None:
        return
    for candidate in known:
        if candidate.state is CandidateState.SCORED:
            for dimension, rule in job.spec.gate.policy.rules.items():
                GATE_SCORES.labels(workflow, dimension, mark(rule, candidate.scores.get(dimension))).inc()


def _outputs(job: Job, slots: Sequence[int]) -> tuple[Output, ...]:
    runs = latest(job.runs)
    return tuple(output for slot in slots for output in runs[slot].outputs)


def _missed(job: Job, why: str) -> JobError:
    """What the job failed of; with what went wrong, where not one candidate could be scored."""
    outcomes = dict.fromkeys(run.outcome for run in latest(job.runs).values() if run.outcome)
    if any(run.scores for run in job.runs) or not outcomes:
        return JobError("quality_missed", why)
    return JobError("no_candidates", f"{why}: {'; '.join(outcomes)}")
