"""Whatever order things happen in, the store on a real Redis agrees with a model that fits on a page.

The rules play clients, a dispatcher, honest and late drivers and a reaper. The invariants are the promises: no
acknowledged job is lost, each has at most one committed result, and a job that ended stays as it ended.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from orchestrator.domain.ids import uuid7
from orchestrator.domain.job import JobError, JobSpec, JobStatus, Priority
from orchestrator.domain.needs import Needs
from orchestrator.domain.run import QueueEntry, RunState
from orchestrator.domain.worker import Residency, WorkerInfo
from orchestrator.errors import Superseded
from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.store.port import Assignment, Result, RunKey, Submission
from orchestrator.store.redis import RedisStore
from tests.fixtures.stored import waiting as queue

WORKERS = ("w1", "w2")
RETRIES = 2
ERROR = JobError("worker_lost", "lost")
_fleets = itertools.count()
_ids = itertools.count(1)


@dataclass
class ModelJob:
    """What a job should look like. `run` is the one that counts: (id, attempt, worker or None, started)."""

    run: str
    attempt: int = 1
    worker: str | None = None
    started: bool = False
    lost: int = 0
    status: JobStatus = JobStatus.QUEUED
    committed: str | None = None
    past: list[tuple[str, int, str]] = field(default_factory=list)


def new_id() -> str:
    return uuid7(1, next(_ids) << 40)


class StoreMachine(RuleBasedStateMachine):
    url: str
    jobs = Bundle("jobs")

    @initialize()
    def connect(self) -> None:
        self.loop = asyncio.Runner()
        self.model: dict[str, ModelJob] = {}
        self.store = self.loop.run(
            RedisStore.connect(
                self.url, f"machine{next(_fleets)}", LeaseSettings(), RetentionSettings(), LimitSettings()
            )
        )
        for worker in WORKERS:
            info = WorkerInfo(worker, f"http://{worker}", "default", "agent", catalog="c")
            duties = self.loop.run(self.store.register(info))
            self.loop.run(self.store.inspected(info, duties.epoch, b"{}", {}))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.loop.run(self.store.close())
            self.loop.close()

    @rule(target=jobs, count=st.integers(1, 3))
    def submit(self, count: int) -> object:
        made: list[str] = []
        for _ in range(count):
            job_id, run_id = new_id(), new_id()
            spec = JobSpec(job_id, "default", Priority.NORMAL, 60, RETRIES, 0.0)
            entry = QueueEntry(run_id, job_id, 1, "default", "normal", 0.0, "p", Needs())
            self.loop.run(self.store.submit(Submission(spec, {}, entry)))
            self.model[job_id] = ModelJob(run_id)
            made.append(job_id)
        return multiple(*made)

    @rule(job=jobs, worker=st.sampled_from(WORKERS))
    def assign(self, job: str, worker: str) -> None:
        it = self.model[job]
        done = self.loop.run(self.store.assign([Assignment(it.run, it.attempt, worker, {})]))[0]
        assert done == (it.status in (JobStatus.QUEUED, JobStatus.RUNNING) and it.worker is None)
        if done:
            it.worker = worker

    @rule(job=jobs)
    def start(self, job: str) -> None:
        it = self.model[job]
        if self.told(self.store.start(self.key(it))):
            assert it.worker is not None
            it.started = True
            if it.status is JobStatus.QUEUED:
                it.status = JobStatus.RUNNING

    @rule(job=jobs)
    def commit(self, job: str) -> None:
        it = self.model[job]
        held, canceling = it.worker is not None, it.status is JobStatus.CANCELING
        done = self.told(self.store.commit(self.key(it), Result((), 1.0, 0.0, Residency())))
        assert done == ((held and not canceling and it.status not in TERMINAL_BUT_SUCCEEDED) or it.committed == it.run)
        if done and it.committed is None:
            it.status, it.committed = JobStatus.SUCCEEDED, it.run
        elif canceling:
            it.status = JobStatus.CANCELED

    @rule(job=jobs, free=st.booleans())
    def retry(self, job: str, free: bool) -> None:
        it = self.model[job]
        if it.worker is None or it.committed or it.status in TERMINAL_BUT_SUCCEEDED:
            assert not self.told(self.store.retry(self.key(it), "lost", error=ERROR, free=free))
            return
        if it.status is JobStatus.CANCELING:
            assert not self.told(self.store.retry(self.key(it), "lost", error=ERROR, free=free))
            it.status = JobStatus.CANCELED
            return
        after = self.loop.run(self.store.retry(self.key(it), "lost", error=ERROR, free=free))
        it.past.append((it.run, it.attempt, it.worker))
        it.lost += not free or it.started
        if it.lost > RETRIES:
            assert after is None
            it.status = JobStatus.FAILED
        else:
            assert after is not None
            it.run, it.attempt, it.worker, it.started = after, it.attempt + 1, None, False

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        it = self.model[job]
        self.loop.run(self.store.cancel(job))
        if it.status in (JobStatus.QUEUED, JobStatus.RUNNING):
            it.status = JobStatus.CANCELED if it.worker is None else JobStatus.CANCELING

    @rule(job=jobs)
    def confirm_stop(self, job: str) -> None:
        it = self.model[job]
        if self.told(self.store.stopped(self.key(it))):
            assert it.status is JobStatus.CANCELING
            it.status = JobStatus.CANCELED

    @rule(job=jobs, verb=st.sampled_from(["start", "commit", "retry", "fail", "stopped"]))
    def a_late_driver_changes_nothing(self, job: str, verb: str) -> None:
        for past in self.model[job].past:
            with pytest.raises(Superseded):
                self.loop.run(self.call(verb, RunKey(*past)))

    def call(self, verb: str, key: RunKey) -> Coroutine[Any, Any, object]:
        match verb:
            case "start":
                return self.store.start(key)
            case "commit":
                return self.store.commit(key, Result((), 1.0, 0.0, Residency()))
            case "retry":
                return self.store.retry(key, "late", error=ERROR)
            case "fail":
                return self.store.fail(key, ERROR)
            case _:
                return self.store.stopped(key)

    @rule()
    def redis_forgets_the_scripts(self) -> None:
        self.loop.run(self.store._db._redis.script_flush())

    @invariant()
    def store_and_model_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        snapshot = self.loop.run(self.store.snapshot())
        waiting = {it.run for it in self.model.values() if it.worker is None and it.status in ACTIVE}
        assert {entry.run_id for entry in self.loop.run(queue(self.store))} == waiting
        held = {
            (it.worker, it.run)
            for it in self.model.values()
            if it.worker and it.status in (*ACTIVE, JobStatus.CANCELING)
        }
        assert {(worker, entry.run_id) for worker, entry in snapshot.running} == held
        for job_id, it in self.model.items():
            job = self.loop.run(self.store.job(job_id))
            assert job.status is it.status
            committed = [run.id for run in job.runs if run.state is RunState.SUCCEEDED]
            assert committed == ([it.committed] if it.committed else [])
            assert [run.attempt for run in job.runs] == list(range(1, it.attempt + 1))
        counts = self.loop.run(self.store.counts())
        assert sum(counts.queued.values()) == len(waiting)
        assert sum(counts.jobs.values()) == len(self.model)

    def key(self, it: ModelJob) -> RunKey:
        return RunKey(it.run, it.attempt, it.worker or "w1")

    def told(self, call: Coroutine[Any, Any, object]) -> bool:
        """Whether the store accepted it."""
        try:
            self.loop.run(call)
        except Superseded:
            return False
        return True


ACTIVE = (JobStatus.QUEUED, JobStatus.RUNNING)
TERMINAL_BUT_SUCCEEDED = (JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED)


def test_the_store_agrees_with_its_model(redis_url: str) -> None:
    machine = type("Machine", (StoreMachine,), {"url": redis_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
