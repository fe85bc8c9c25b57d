"""A driver whose ComfyUI, websocket, agent, store or run goes away."""

from __future__ import annotations

import os
import signal
from typing import Any

import aiohttp
import pytest

from orchestrator.comfy import client
from orchestrator.domain.job import JobError, JobStatus
from orchestrator.domain.run import RunState
from orchestrator.domain.worker import WorkerState
from orchestrator.errors import Busy
from orchestrator.settings import LeaseSettings
from orchestrator.store.port import Assignment, Result, RunKey
from orchestrator.store.redis import RedisStore
from orchestrator.worker import monitor
from tests.fixtures.comfyui import StartSim, StartSimProcess
from tests.fixtures.driving import (
    Brink,
    Fleet,
    Gate,
    Wire,
    eventually,
    has_forgotten_all,
    holds,
    picture,
    queued,
    sampled,
)

# --- ComfyUI goes away ---


async def test_comfyui_killed_in_mid_run(fleet: Fleet, sim_process: StartSimProcess) -> None:
    doomed = await sim_process(step_seconds=0.05)
    other = await sim_process(step_seconds=0.0)
    async with fleet.agent(("doomed", doomed.url), ("other", other.url)):
        await fleet.worker("doomed")
        await fleet.worker("other")
        job_id = await fleet.submit(sampled(steps=1000), "doomed")
        waiting_id = await fleet.submit(picture(), "doomed")
        await fleet.run_in(job_id, RunState.RUNNING)
        await doomed.kill()

        lost = await fleet.run_in(job_id, RunState.LOST)
        assert lost.outcome is not None
        assert "is ComfyUI running there?" in lost.outcome
        down = await fleet.worker("doomed", WorkerState.DOWN)
        assert down.note is not None
        for each in (job_id, waiting_id):
            await fleet.run_in(each, RunState.QUEUED, attempt=2)
            await fleet.assign(each, "other")
            assert (await fleet.job(each)).status is JobStatus.SUCCEEDED

        back = await sim_process(port=int(doomed.url.rsplit(":", 1)[1]))
        await fleet.worker("doomed")
        assert back.url == doomed.url
        assert (await fleet.job(await fleet.submit(picture(), "doomed"))).status is JobStatus.SUCCEEDED


async def test_comfyui_restarted_before_anybody_noticed(fleet: Fleet, sim_process: StartSimProcess) -> None:
    sim = await sim_process(step_seconds=0.05)
    port = int(sim.url.rsplit(":", 1)[1])
    async with Wire(sim.url) as wire, fleet.agent(("w", wire.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=1000), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
        await sim.kill()
        await sim_process(port=port)
        await fleet.run_in(job_id, RunState.LOST)
        await fleet.worker("w")
        await fleet.assign(job_id, "w")
        assert (await fleet.job(job_id)).status is JobStatus.SUCCEEDED


async def test_a_comfyui_that_hangs(
    fleet: Fleet, sim_process: StartSimProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_QUICK", aiohttp.ClientTimeout(total=0.5))
    monkeypatch.setattr(monitor, "SILENCE_S", 0.5)
    monkeypatch.setitem(monitor.GONE_AFTER_S, "comfyui_timeout", 1.0)  # type: ignore[arg-type]
    hanging, other = await sim_process(step_seconds=0.05), await sim_process()
    async with fleet.agent(("hanging", hanging.url), ("other", other.url)):
        await fleet.worker("hanging")
        await fleet.worker("other")
        job_id = await fleet.submit(sampled(steps=2000), "hanging")
        first = await fleet.run_in(job_id, RunState.RUNNING)
        os.kill(hanging.pid, signal.SIGSTOP)
        try:
            lost = await fleet.run_in(job_id, RunState.LOST)
            assert lost.outcome is not None
            assert "did not answer in time" in lost.outcome
            await fleet.assign(job_id, "other")
            job = await fleet.job(job_id)
            assert job.status is JobStatus.SUCCEEDED
        finally:
            os.kill(hanging.pid, signal.SIGCONT)
        await fleet.worker("hanging")
        assert first.id not in await queued(hanging.url)
        assert fleet.stored_runs() == {job.runs[-1].id}


async def test_a_comfyui_that_is_not_there_yet(fleet: Fleet, sim_process: StartSimProcess) -> None:
    first = await sim_process()
    await first.kill()
    async with fleet.agent(("w", first.url)):
        down = await fleet.worker("w", WorkerState.DOWN)
        assert down.note is not None
        assert "is ComfyUI running there?" in down.note
        await sim_process(port=int(first.url.rsplit(":", 1)[1]))
        await fleet.worker("w")


# --- the websocket goes away ---


async def test_without_a_websocket_the_history_is_polled(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with Wire(sim.url) as wire:
        wire.deaf = True
        async with fleet.agent(("w", wire.url)):
            await fleet.worker("w")
            job = await fleet.job(await fleet.submit(sampled(steps=10), "w"))
            assert job.status is JobStatus.SUCCEEDED
            assert len(job.runs) == 1


async def test_a_websocket_cut_in_mid_run(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with Wire(sim.url) as wire, fleet.agent(("w", wire.url)):
        await fleet.worker("w")
        epoch = (await fleet.store.worker("w")).epoch
        job_id = await fleet.submit(sampled(steps=60), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
        wire.cut()
        job = await fleet.job(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert len(job.runs) == 1
        assert (await fleet.store.worker("w")).epoch == epoch  # it was seen to be the same ComfyUI


# --- the driver goes away ---


async def test_a_run_that_executes_is_adopted_by_the_next_driver(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        executing = await fleet.submit(sampled(steps=60), "w")
        waiting = await fleet.submit(picture(), "w")
        await fleet.run_in(executing, RunState.RUNNING)
        await eventually(lambda: holds(sim.url, 2), "both to be on ComfyUI")
    async with fleet.agent(("w", sim.url), name="next"):
        for job_id in (executing, waiting):
            job = await fleet.job(job_id)
            assert job.status is JobStatus.SUCCEEDED
            assert len(job.runs) == 1
        assert len(sim.spans) == 2


async def test_a_run_that_ended_meanwhile_is_collected_by_the_next_driver(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=20), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
    await eventually(lambda: len(sim.spans) == 1, "the run to end")
    async with fleet.agent(("w", sim.url), name="next"):
        job = await fleet.job(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert len(job.runs) == 1
        assert len(sim.spans) == 1


async def test_a_run_that_was_never_posted_is_executed_by_the_next_driver(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
    job_id = await fleet.submit(picture(), "w")
    async with fleet.agent(("w", sim.url), name="next"):
        job = await fleet.job(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert len(job.runs) == 1


async def test_what_went_elsewhere_meanwhile_is_stopped_by_the_next_driver(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=2000), "w")
        run = await fleet.run_in(job_id, RunState.RUNNING)
    async with aiohttp.ClientSession() as http:
        await http.post(f"{sim.url}/prompt", json={"prompt": sampled(steps=3)})  # somebody else's
    await _take_away(fleet, job_id)
    async with fleet.agent(("w", sim.url), name="next"):
        await fleet.worker("w")
        assert run.id not in await queued(sim.url)
        await eventually(lambda: len(sim.spans) == 2, "what somebody else queued to be executed")


async def test_two_agents_with_the_same_worker(
    fleet: Fleet, sim_comfyui: StartSim, caplog: pytest.LogCaptureFixture
) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=60), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
        async with fleet.agent(("w", sim.url), name="another"):
            job = await fleet.job(job_id)
            assert job.status is JobStatus.SUCCEEDED
            assert len(job.runs) == 1
            assert len(sim.spans) == 1
            assert fleet.stored_runs() == {job.runs[0].id}
            await eventually(lambda: "remove it from one of them" in caplog.text, "the mistake to be told")


# --- the store goes away ---


class Forgetful:
    """A store whose answer to the first commit is lost on the way, after it was done."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self.commits = 0

    async def commit(self, key: RunKey, result: Result) -> None:
        await self._store.commit(key, result)
        self.commits += 1
        if self.commits == 1:
            raise Busy("store_unavailable", "Redis does not answer", 1.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_commit_whose_answer_was_lost_is_one_commit(
    fleet: Fleet, store: RedisStore, sim_comfyui: StartSim
) -> None:
    sim = await sim_comfyui()
    forgetful = Forgetful(store)
    fleet.store = forgetful  # type: ignore[assignment]
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job = await fleet.job(await fleet.submit(picture(), "w"))
        await eventually(lambda: forgetful.commits == 2, "the driver to insist")
        assert job.status is JobStatus.SUCCEEDED
        assert len(await fleet.read(job.outputs[0].path)) == job.outputs[0].size_bytes


class Astounding(Forgetful):
    """A store that fails the first commit in a way that nobody foresaw."""

    async def commit(self, key: RunKey, result: Result) -> None:
        self.commits += 1
        if self.commits == 1:
            raise TypeError("Type is not JSON serializable: Residency")
        await self._store.commit(key, result)


async def test_a_surprise_as_the_end_is_told_costs_a_retry_and_not_the_driver(
    fleet: Fleet, store: RedisStore, sim_comfyui: StartSim
) -> None:
    sim = await sim_comfyui()
    fleet.store = Astounding(store)  # type: ignore[assignment]
    async with fleet.agent(("w", sim.url)):
        epoch = (await fleet.worker("w")).epoch
        job_id = await fleet.submit(picture(), "w")
        lost = await fleet.run_in(job_id, RunState.LOST)
        assert "comfyfleet failed, not the job: TypeError" in str(lost.outcome)
        await fleet.assign(job_id, "w")
        assert (await fleet.job(job_id)).status is JobStatus.SUCCEEDED
        assert (await store.worker("w")).epoch == epoch, "its driver went on"


# --- the run goes away ---


async def _take_away(fleet: Fleet, job_id: str) -> None:
    """What the reaper does when a lease runs out."""
    run = (await fleet.store.job(job_id)).runs[-1]
    assert run.worker is not None
    key = RunKey(run.id, run.attempt, run.worker)
    assert await fleet.store.retry(key, "its worker was not heard from", error=JobError("worker_lost", "x"))


async def test_a_run_that_was_taken_away_is_stopped(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(sampled(steps=2000), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
        await _take_away(fleet, job_id)
        await eventually(lambda: holds(sim.url, 0), "it to be stopped")
        assert (await fleet.store.worker("w")).state is WorkerState.READY


async def test_a_result_that_comes_too_late_leaves_no_files(fleet: Fleet, sim_comfyui: StartSim) -> None:
    late, other = await sim_comfyui(), await sim_comfyui()
    gate = Gate(fleet.storage)
    async with (
        fleet.agent(("late", late.url), storage=gate),
        fleet.agent(("other", other.url), name="another"),
    ):
        await fleet.worker("late")
        await fleet.worker("other")
        job_id = await fleet.submit(picture(), "late")
        await gate.waiting.wait()
        await _take_away(fleet, job_id)
        run = (await fleet.store.job(job_id)).runs[-1]
        assert await fleet.store.assign([Assignment(run.id, run.attempt, "other", {})]) == [True]
        gate.open.set()
        job = await fleet.job(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert [each.state for each in job.runs] == [RunState.LOST, RunState.SUCCEEDED]
        await eventually(lambda: fleet.stored_runs() == {run.id}, "the late files to be gone")
        assert job.outputs[0].path.split("/")[2] == run.id


async def test_what_was_stored_for_a_run_goes_with_the_lease_of_its_worker(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    fleet.leases = LeaseSettings(worker_s=0.3, heartbeat_s=0.1)
    brink = Brink(fleet.storage)
    async with fleet.agent(("w", sim.url), storage=brink):
        worker = await fleet.worker("w")
        job_id = await fleet.submit(picture(), "w")
        await brink.waiting.wait()
        assert fleet.stored_runs()
        await fleet.store.lost_worker("w", worker.epoch, "its agent was not heard from")
        await _take_away(fleet, job_id)
        assert (await fleet.worker("w")).epoch > worker.epoch
        await eventually(lambda: not fleet.stored_runs(), "the files to be gone")
        await eventually(lambda: has_forgotten_all(sim.url), "ComfyUI to forget the run")


async def test_what_was_stored_for_a_run_goes_when_its_job_is_canceled(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    brink = Brink(fleet.storage)
    async with fleet.agent(("w", sim.url), storage=brink):
        await fleet.worker("w")
        job_id = await fleet.submit(picture(), "w")
        await brink.waiting.wait()
        await fleet.store.cancel(job_id)
        assert (await fleet.job(job_id)).status is JobStatus.CANCELED
        await eventually(lambda: not fleet.stored_runs(), "the files to be gone")
        await eventually(lambda: has_forgotten_all(sim.url), "ComfyUI to forget the run")


async def test_a_worker_that_was_taken_from_us_is_taken_back(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    fleet.leases = LeaseSettings(worker_s=0.3, heartbeat_s=0.1)
    async with fleet.agent(("w", sim.url)):
        worker = await fleet.worker("w")
        await fleet.store.lost_worker("w", worker.epoch, "its agent was not heard from")
        again = await fleet.worker("w")
        assert again.epoch > worker.epoch
        assert (await fleet.job(await fleet.submit(picture(), "w"))).status is JobStatus.SUCCEEDED
