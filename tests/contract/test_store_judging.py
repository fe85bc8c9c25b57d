"""Jobs that have a gate, in the store on a real Redis: several runs, one result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchestrator.domain.event import EventType
from orchestrator.domain.job import Job, JobError, JobStatus, Progress
from orchestrator.domain.quality import Gate, Judgement, JudgementState, Policy, Rule, Score
from orchestrator.domain.run import RunState
from orchestrator.errors import Superseded
from orchestrator.store.port import AskPerson, Assignment, Deliver, FailJob, MoreCandidates, RunKey, Submission
from orchestrator.store.redis import RedisStore
from tests.fixtures.stored import ERROR, output, ready, result, submission

GATE = Gate(Policy({"sharpness": Rule(0.5)}, ("9",), candidates=3), "report")
NOTHING_YET = Judgement(JudgementState.WAITING)
DONE = Judgement(JudgementState.ACCEPTED, "the best", (1,))


async def submitted(store: RedisStore, **changes: object) -> Submission:
    """A job of three candidates, the second and third of which have seeds of their own."""
    patches = tuple({"1": {"seed": seed}} for seed in (11, 12))
    it = submission(gate=GATE, candidates=patches, **changes)
    await store.submit(it)
    return it


async def assigned(store: RedisStore, job_id: str) -> Sequence[RunKey]:
    """All that is queued of the job goes to the worker."""
    queued = [run for run in (await store.job(job_id)).runs if run.state is RunState.QUEUED]
    await store.assign([Assignment(run.id, run.attempt, "w1", {}) for run in queued])
    return [RunKey(run.id, run.attempt, "w1") for run in queued]


async def commit(store: RedisStore, key: RunKey, sharpness: float) -> None:
    await store.start(key)
    await store.commit(key, replace(result(key.run_id), scores={"sharpness": Score(sharpness)}))


async def first_unjudged(store: RedisStore) -> str:
    async with asyncio.timeout(5):
        async for job_id in store.unjudged():
            return job_id
    raise AssertionError("it ends only with its reader")


async def by_slot(store: RedisStore, job_id: str) -> tuple[Job, dict[int, RunState]]:
    job = await store.job(job_id)
    return job, {run.slot: run.state for run in job.runs}


async def test_each_candidate_is_a_run_with_inputs_of_its_own(store: RedisStore) -> None:
    await ready(store)
    it = await submitted(store)
    job = await store.job(it.spec.id)
    assert [(run.slot, run.attempt) for run in job.runs] == [(0, 1), (1, 1), (2, 1)]
    orders = [await store.order(run.id) for run in job.runs]
    assert [order.graph["1"]["inputs"] for order in orders] == [{}, {"seed": 11}, {"seed": 12}]
    assert all(order.spec.gate == GATE for order in orders)
    assert sum((await store.counts()).queued.values()) == 3


async def test_a_result_is_held_back_until_the_gate_lets_it_pass(store: RedisStore) -> None:
    await ready(store)
    it = await submitted(store)
    keys = await assigned(store, it.spec.id)
    for key, sharpness in zip(keys, (0.2, 0.9, 0.4), strict=True):
        await commit(store, key, sharpness)
        assert await first_unjudged(store) == it.spec.id
    job = await store.job(it.spec.id)
    assert (job.status, job.outputs, job.ended) == (JobStatus.RUNNING, (), 3)
    assert [run.scores["sharpness"].value for run in job.runs] == [0.2, 0.9, 0.4]
    assert [run.outputs for run in job.runs] == [(output(key.run_id),) for key in keys]

    assert await store.conclude(it.spec.id, 3, DONE, Deliver(job.runs[1].outputs))
    job = await store.job(it.spec.id)
    assert (job.status, job.outputs, job.judgement) == (JobStatus.SUCCEEDED, (output(keys[1].run_id),), DONE)
    kinds = [event.type for event in await store.events(it.spec.id)][-3:]
    assert kinds == [EventType.QUALITY, EventType.OUTPUT, EventType.STATUS]
    assert not await store.conclude(it.spec.id, 3, DONE, Deliver(job.runs[2].outputs))  # one result, ever


async def test_a_verdict_that_comes_late_does_nothing(store: RedisStore) -> None:
    await ready(store)
    it = await submitted(store)
    first, second, _ = await assigned(store, it.spec.id)
    await commit(store, first, 0.9)
    await commit(store, second, 0.8)
    assert not await store.conclude(it.spec.id, 1, DONE, FailJob(ERROR))
    assert (await store.job(it.spec.id)).status is JobStatus.RUNNING
    assert await store.conclude(it.spec.id, 2, NOTHING_YET, None)


async def test_what_still_waits_or_executes_stops_when_enough_are_good(store: RedisStore) -> None:
    await ready(store)
    it = await submitted(store)
    run_ids = [run.id for run in (await store.job(it.spec.id)).runs]
    await store.assign([Assignment(run_id, 1, "w1", {}) for run_id in run_ids[:2]])
    first, second = (RunKey(run_id, 1, "w1") for run_id in run_ids[:2])
    await commit(store, first, 0.9)
    await store.start(second)
    assert await store.conclude(it.spec.id, 1, DONE, Deliver((output(first.run_id),)))
    assert sum((await store.counts()).queued.values()) == 0
    with pytest.raises(Superseded):
        await commit(store, second, 0.99)
    job, states = await by_slot(store, it.spec.id)
    assert job.status is JobStatus.SUCCEEDED
    assert states == {0: RunState.SUCCEEDED, 1: RunState.CANCELED, 2: RunState.CANCELED}
    assert job.outputs == (output(first.run_id),)


async def test_more_candidates_take_slots_of_their_own(store: RedisStore) -> None:
    await ready(store)
    it = await submitted(store)
    for key in await assigned(store, it.spec.id):
        await commit(store, key, 0.1)
    again = Judgement(JudgementState.RERUNNING, "none was good")
    assert await store.conclude(it.spec.id, 3, again, MoreCandidates(({"1": {"seed": 13, "cfg": 6.0}},)))
    job = await store.job(it.spec.id)
    assert [(run.slot, run.attempt) for run in job.runs] == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert (await store.order(job.runs[3].id)).graph["1"]["inputs"] == {"seed": 13, "cfg": 6.0}
    (key,) = await assigned(store, it.spec.id)
    await commit(store, key, 0.9)
    assert (await store.job(it.spec.id)).ended == 4


async def test_each_candidate_has_the_retries_of_the_job(store: RedisStore) -> None:
    await ready(store)
    it = await submitted(store, retries=1)
    first, second, third = await assigned(store, it.spec.id)
    for key in (first, second):
        await store.start(key)
        assert await store.retry(key, "lost", error=ERROR) is not None
    again = await assigned(store, it.spec.id)
    for key in again:
        assert await store.retry(key, "lost again", error=ERROR) is None
    await store.fail(third, JobError("node_failed", "no"))
    job = await store.job(it.spec.id)
    assert (job.status, job.ended) == (JobStatus.RUNNING, 3)
    retried = {order.run.slot: order.graph["1"]["inputs"] for key in again for order in [await store.order(key.run_id)]}
    assert retried == {0: {}, 1: {"seed": 11}}  # a retry is of the same candidate
    failed = Judgement(JudgementState.FAILED, "none is left")
    assert await store.conclude(it.spec.id, 3, failed, FailJob(JobError("quality_missed", "none is left")))
    job = await store.job(it.spec.id)
    assert (job.status, job.error) == (JobStatus.FAILED, JobError("quality_missed", "none is left"))


async def test_a_cancel_stops_every_candidate_and_is_over_with_the_last(store: RedisStore) -> None:
    await ready(store)
    it = await submitted(store)
    run_ids = [run.id for run in (await store.job(it.spec.id)).runs]
    await store.assign([Assignment(run_id, 1, "w1", {}) for run_id in run_ids[:2]])
    first, second = (RunKey(run_id, 1, "w1") for run_id in run_ids[:2])
    await store.start(first)
    assert (await store.cancel(it.spec.id)).status is JobStatus.CANCELING
    await store.stopped(first)
    assert (await store.job(it.spec.id)).status is JobStatus.CANCELING
    with pytest.raises(Superseded):
        await store.commit(second, result(second.run_id))
    job, states = await by_slot(store, it.spec.id)
    assert job.status is JobStatus.CANCELED
    assert set(states.values()) == {RunState.CANCELED}
    assert not await store.conclude(it.spec.id, 0, DONE, FailJob(ERROR))


async def test_a_review_waits_for_a_person_and_ends_with_the_job(store: RedisStore) -> None:
    await ready(store)
    it, other = await submitted(store), await submitted(store)
    for job_id in (it.spec.id, other.spec.id):
        for key in await assigned(store, job_id):
            await commit(store, key, 0.1)
        asked = Judgement(JudgementState.REVIEW, "a person decides", (0,))
        assert await store.conclude(job_id, 3, asked, AskPerson(60.0 if job_id == it.spec.id else 30.0))
    assert [review.job_id for review in await store.reviews()] == [other.spec.id, it.spec.id]
    assert (await store.cancel(other.spec.id)).status is JobStatus.CANCELED
    (review,) = await store.reviews()
    assert review.job_id == it.spec.id
    assert await store.conclude(it.spec.id, 3, DONE, Deliver((output("x"),)))
    assert await store.reviews() == []


async def test_progress_is_shared_among_the_candidates(store: RedisStore) -> None:
    await ready(store)
    it = await submitted(store)
    first, second, _ = await assigned(store, it.spec.id)
    await store.start(first)
    await store.progress(first, Progress(0.6, 1, 2, "3", "KSampler", 10, 20))
    assert (await store.job(it.spec.id)).progress == Progress(pytest.approx(0.2), 1, 2, "3", "KSampler", 10, 20)
    await store.commit(first, result(first.run_id))
    await store.start(second)
    await store.progress(second, Progress(0.5, 1, 2))
    assert (await store.job(it.spec.id)).progress == Progress(pytest.approx(0.5), 1, 2)
