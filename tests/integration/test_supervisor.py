"""Supervised workers: started, watched and replaced, whatever becomes of their ComfyUI or of their agent."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.delivery.local import LocalStorage
from orchestrator.domain.job import JobStatus
from orchestrator.domain.run import RunState
from orchestrator.domain.worker import WorkerEvent, WorkerKind, WorkerState
from orchestrator.settings import LeaseSettings, WatchdogSettings
from orchestrator.store.redis import RedisStore
from orchestrator.worker.supervisor import host
from orchestrator.worker.supervisor.home import Home
from orchestrator.worker.supervisor.wear import Limits
from tests.fixtures.driving import Fleet, eventually, picture, sampled
from tests.fixtures.supervising import MakeStation, Station, hurry, stations

LONG = sampled(steps=5000)
SLOW = {"config": {"step_seconds": 0.02}}
PROMPT = "a heron at dawn"


@pytest.fixture
def leases() -> LeaseSettings:
    return LeaseSettings(worker_s=5.0, heartbeat_s=0.2)


@pytest.fixture
async def fleet(store: RedisStore, leases: LeaseSettings, tmp_path: Path) -> AsyncIterator[Fleet]:
    storage = LocalStorage(tmp_path / "storage")
    yield Fleet(store, storage, leases)
    await storage.close()


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeStation]:
    hurry(monkeypatch)
    async with stations(tmp_path) as make:
        yield make


@pytest.fixture
def w(make: MakeStation) -> Station:
    station = make("w")
    station.sim.behave(**SLOW)
    return station


async def succeeds(fleet: Fleet, worker: str = "w") -> None:
    assert (await fleet.job(await fleet.submit(picture(), worker))).status is JobStatus.SUCCEEDED


async def executing(fleet: Fleet) -> str:
    """A job whose run executes on w, and does so for long."""
    job_id = await fleet.submit(LONG, "w")
    await fleet.run_in(job_id, RunState.RUNNING)
    return job_id


async def noted(fleet: Fleet, words: str) -> None:
    """Waits until the story of w has an entry with these words."""

    async def told() -> bool:
        return any(words in (change.note or "") for change in await fleet.store.worker_changes("w"))

    await eventually(told, f"w to tell: {words}")


async def test_from_nothing_to_a_picture_and_back_to_nothing(fleet: Fleet, w: Station) -> None:
    async with fleet.agent_of([w.host()]) as agent:
        worker = await fleet.worker("w")
        assert worker.info.kind is WorkerKind.SUPERVISED
        assert worker.info.url == w.process.url
        await succeeds(fleet)
        await eventually(lambda: not any((w.folder / "output" / "fleet").iterdir()), "what was collected to be swept")
        process = w.process
        assert os.getsid(process.pid) == process.pid
        assert process.record.command[2:5] == ("--listen", "127.0.0.1", "--port")
        await agent.drain()
        assert not process.alive
        assert (await fleet.store.worker("w")).state is WorkerState.DOWN
    states = [change.state.value for change in reversed(await fleet.store.worker_changes("w"))]
    assert states == ["starting", "starting", "ready", "draining", "down"]
    assert "starting the simulated ComfyUI" in w.log.read_text()


async def test_a_killed_one_has_its_run_done_elsewhere_and_is_back(fleet: Fleet, make: MakeStation) -> None:
    one, two = make("one"), make("two")
    one.sim.behave(says=[f"a chatty node pack got {PROMPT}"], **SLOW)
    async with fleet.agent_of([one.host(), two.host()]):
        await fleet.worker("one")
        await fleet.worker("two")
        job_id = await fleet.submit(sampled(steps=400), "one")
        await fleet.run_in(job_id, RunState.RUNNING)
        killed_at = time.monotonic()
        pid = one.signal(signal.SIGKILL)
        lost = await fleet.run_in(job_id, RunState.LOST)
        assert lost.outcome is not None
        assert "it was killed (SIGKILL)" in lost.outcome
        assert f"what it said is in {one.log}" in lost.outcome  # and not here, where other jobs are told it as well
        assert PROMPT not in lost.outcome
        await fleet.assign(job_id, "two")
        assert (await fleet.job(job_id)).status is JobStatus.SUCCEEDED
        assert time.monotonic() - killed_at < 20.0  # P3
        await fleet.worker("one")
        assert one.process.pid != pid
        await succeeds(fleet, "one")


async def test_a_stopped_one_is_caught_killed_and_replaced(fleet: Fleet, w: Station) -> None:
    async with fleet.agent_of([w.host()]):
        await fleet.worker("w")
        job_id = await executing(fleet)
        process, since = w.process, time.monotonic()
        w.signal(signal.SIGSTOP)
        posted_id = await fleet.submit(picture(), "w")  # whose request hangs
        lost = await fleet.run_in(job_id, RunState.LOST)
        await fleet.run_in(posted_id, RunState.QUEUED, attempt=2)
        assert time.monotonic() - since < 10.0
        assert lost.outcome is not None
        assert "was stopped by a signal" in lost.outcome
        await eventually(lambda: not process.alive, "it to be killed")
        await fleet.worker("w")
        await succeeds(fleet)


async def test_one_that_crashes_again_and_again_is_quarantined_until_an_operator_resumes_it(
    fleet: Fleet, w: Station
) -> None:
    w.sim.behave(crash="ImportError: libcudart.so.12")
    async with fleet.agent_of([w.host()]):
        worker = await fleet.worker("w", WorkerState.QUARANTINED)
        assert worker.note is not None
        assert worker.note.startswith("3 failures within 1800 s: process ")
        assert "it exited with 1" in worker.note
        assert worker.note.endswith("Traceback (most recent call last): / ImportError: libcudart.so.12")
        assert w.log.read_text().count("comfyfleet starts") == 3
        w.sim.behave()
        await fleet.store.move_worker("w", WorkerEvent.RESUME)
        await fleet.worker("w")
        await succeeds(fleet)


async def test_one_that_takes_too_long_to_start_is_killed(fleet: Fleet, w: Station) -> None:
    w.sim.behave(sleep_s=60)
    async with fleet.agent_of([w.host(boot_s=0.3, quarantine_failures=1)]):
        worker = await fleet.worker("w", WorkerState.QUARANTINED)
        assert worker.note is not None
        assert "did not answer within supervision.boot_s of 0.3 s" in worker.note


async def test_an_operator_recycles_it_after_what_it_executes(fleet: Fleet, w: Station) -> None:
    async with fleet.agent_of([w.host()]):
        await fleet.worker("w")
        first = await fleet.submit(sampled(steps=50), "w")
        waiting = await fleet.submit(sampled(steps=51), "w")
        await fleet.run_in(first, RunState.RUNNING)
        pid = w.process.pid
        await fleet.store.move_worker("w", WorkerEvent.RECYCLE)
        returned = await fleet.run_in(waiting, RunState.RETURNED)
        assert returned.outcome == "recycled by an operator"
        job = await fleet.job(first)
        assert (job.status, len(job.runs)) == (JobStatus.SUCCEEDED, 1)
        await fleet.worker("w")
        assert w.process.pid != pid
        await fleet.assign(waiting, "w")
        assert (await fleet.job(waiting)).status is JobStatus.SUCCEEDED


async def test_a_recycling_outlives_its_agent(fleet: Fleet, w: Station) -> None:
    async with fleet.agent_of([w.host()]):
        await fleet.worker("w")
        pid = w.process.pid
        job_id = await fleet.submit(sampled(steps=100), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
        await fleet.store.move_worker("w", WorkerEvent.RECYCLE)
        await eventually(lambda: w.process.record.worn, "the agent to know")
    async with fleet.agent_of([w.host()], name="next"):
        assert len((await fleet.job(job_id)).runs) == 1
        await noted(fleet, "recycled by an operator: ending process")
        await fleet.worker("w")
        assert w.process.pid != pid


async def test_it_is_recycled_after_so_many_runs(fleet: Fleet, w: Station) -> None:
    async with fleet.agent_of([w.host(limits=Limits(runs=2))]):
        await fleet.worker("w")
        pid = w.process.pid
        await succeeds(fleet)
        await succeeds(fleet)
        await noted(fleet, "it has executed 2 runs; recycle.runs is 2")
        await fleet.worker("w")
        assert w.process.pid != pid


async def test_it_is_recycled_when_it_leaks(fleet: Fleet, w: Station) -> None:
    w.sim.behave(faults=[{"kind": "leak", "bytes": 300_000_000}])
    async with fleet.agent_of([w.host(limits=Limits(rss_bytes=250_000_000))]):
        await fleet.worker("w")
        pid = w.process.pid
        await succeeds(fleet)
        await noted(fleet, "GB of memory after 1 run; recycle.rss_gb is 0.25")
        await fleet.worker("w")
        assert w.process.pid != pid
        assert len(await fleet.store.worker_changes("w")) < 10


class TestAgentKilled:
    """With a run executing, which is neither lost nor executed twice."""

    async def test_the_next_one_takes_over_process_and_run(self, fleet: Fleet, w: Station) -> None:
        async with fleet.agent_of([w.host()]):
            await fleet.worker("w")
            job_id = await fleet.submit(sampled(steps=60), "w")
            await fleet.run_in(job_id, RunState.RUNNING)
            pid = w.process.pid
        async with fleet.agent_of([w.host()], name="next"):
            job = await fleet.job(job_id)
            assert (job.status, len(job.runs)) == (JobStatus.SUCCEEDED, 1)
            assert w.process.pid == pid
            await fleet.worker("w")
            await succeeds(fleet)

    async def test_with_its_comfyui_the_run_is_queued_again_at_once(self, fleet: Fleet, w: Station) -> None:
        async with fleet.agent_of([w.host()]):
            await fleet.worker("w")
            job_id = await executing(fleet)
            w.signal(signal.SIGKILL)
        w.sim.behave(sleep_s=60)
        async with fleet.agent_of([w.host()], name="next"):
            await fleet.run_in(job_id, RunState.QUEUED, attempt=2)
            assert (await fleet.store.worker("w")).state is WorkerState.STARTING

    async def test_one_that_does_not_answer_is_killed_not_taken_over(self, fleet: Fleet, w: Station) -> None:
        async with fleet.agent_of([w.host()]):
            await fleet.worker("w")
            job_id = await executing(fleet)
            w.signal(signal.SIGSTOP)
            process = w.process
        async with fleet.agent_of([w.host()], name="next"):
            await fleet.run_in(job_id, RunState.QUEUED, attempt=2)
            await fleet.worker("w")
            assert not process.alive

    async def test_one_that_has_not_answered_yet_is_waited_for_as_one_of_our_own(
        self, fleet: Fleet, w: Station, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(host, "ADOPT_S", 0.0)
        w.sim.behave(sleep_s=2.0)
        async with fleet.agent_of([w.host()]):
            await noted(fleet, "waiting for it to answer")
            pid = w.process.pid
        async with fleet.agent_of([w.host()], name="next"):
            await fleet.worker("w")
            assert w.process.pid == pid

    async def test_one_that_fleet_yaml_wants_otherwise_is_replaced_when_it_is_free(
        self, fleet: Fleet, w: Station
    ) -> None:
        async with fleet.agent_of([w.host()]):
            await fleet.worker("w")
            job_id = await fleet.submit(sampled(steps=40), "w")
            await fleet.run_in(job_id, RunState.RUNNING)
            pid = w.process.pid
        async with fleet.agent_of([w.host(args=("--cpu",))], name="next"):
            job = await fleet.job(job_id)
            assert (job.status, len(job.runs)) == (JobStatus.SUCCEEDED, 1)
            await noted(fleet, "fleet.yaml has another command line for it by now")
            await fleet.worker("w")
            assert w.process.pid != pid


class TestHangs:
    @pytest.fixture
    def fleet(self, fleet: Fleet) -> Fleet:
        fleet.watchdog = WatchdogSettings(step_s=0.5, node_s=1.5)
        return fleet

    @pytest.mark.parametrize("kind", ["hang", "zombie"])
    async def test_no_sign_of_progress(self, fleet: Fleet, w: Station, kind: str) -> None:
        async with fleet.agent_of([w.host()]):
            await fleet.worker("w")
            await w.fail({"kind": kind})
            since, pid = time.monotonic(), w.process.pid
            job_id = await fleet.submit(picture(), "w")
            lost = await fleet.run_in(job_id, RunState.LOST)
            assert lost.outcome is not None
            assert "its ComfyUI hangs: run" in lost.outcome
            assert time.monotonic() - since < 1.5 + 20.0  # P4
            await fleet.worker("w")
            assert w.process.pid != pid
            await fleet.assign(job_id, "w")
            assert (await fleet.job(job_id)).status is JobStatus.SUCCEEDED

    async def test_a_slow_load_is_no_hang(self, fleet: Fleet, w: Station) -> None:
        w.sim.behave(faults=[{"kind": "slow_load", "seconds": 1.0}], **SLOW)
        async with fleet.agent_of([w.host()]):
            await fleet.worker("w")
            job = await fleet.job(await fleet.submit(sampled(steps=10), "w"))
            assert (job.status, len(job.runs)) == (JobStatus.SUCCEEDED, 1)


async def test_a_broken_device_costs_its_process(fleet: Fleet, w: Station) -> None:
    async with fleet.agent_of([w.host()]):
        await fleet.worker("w")
        await w.fail({"kind": "device_error"})
        pid = w.process.pid
        job_id = await fleet.submit(sampled(steps=2), "w")
        lost = await fleet.run_in(job_id, RunState.LOST)
        assert lost.outcome is not None
        assert "the device of the worker failed" in lost.outcome
        await noted(fleet, "the device of the worker failed")
        notes = [change.note for change in await fleet.store.worker_changes("w")]
        assert "CUDA error" in lost.outcome
        assert not [note for note in notes if note and "CUDA error" in note]  # what a node says is its job's alone
        await fleet.worker("w")
        assert w.process.pid != pid
        await succeeds(fleet)


async def test_a_device_that_breaks_again_and_again_is_quarantined(fleet: Fleet, w: Station) -> None:
    w.sim.behave(faults=[{"kind": "device_error", "times": None}])
    async with fleet.agent_of([w.host(quarantine_failures=2)]):
        for _ in range(2):
            await fleet.worker("w")
            await fleet.run_in(await fleet.submit(sampled(steps=2), "w"), RunState.LOST)
        worker = await fleet.worker("w", WorkerState.QUARANTINED)
        assert worker.note is not None
        assert "the device of the worker failed" in worker.note


async def test_what_fails_to_import_keeps_it_from_being_ready(fleet: Fleet, w: Station) -> None:
    reason = "Cannot import /c/custom_nodes/pack module for custom nodes: No module named 'cv2'"
    w.sim.behave(says=[reason, "   0.1 seconds (IMPORT FAILED): /c/custom_nodes/pack"])
    async with fleet.agent_of([w.host(required_classes=("KSampler", "PackNode"), quarantine_failures=2)]):
        worker = await fleet.worker("w", WorkerState.QUARANTINED)
        assert worker.note is not None
        assert "it lacks the required node classes PackNode" in worker.note
        assert "IMPORT FAILED: pack (No module named 'cv2')" in worker.note


async def test_it_is_ready_once_its_warm_up_graph_was_executed(fleet: Fleet, w: Station) -> None:
    warmup = sampled(steps=3)
    async with fleet.agent_of([w.host(warmup=warmup)]):
        await fleet.worker("w")
        assert w.process.record.warm
        await eventually(lambda: not any((w.folder / "output").rglob("*.png")), "what it made to be swept")
        await succeeds(fleet)
    async with fleet.agent_of([w.host(warmup=warmup)], name="next"):
        await fleet.worker("w")  # which is warm already


async def test_a_warm_up_that_fails_keeps_it_from_being_ready(fleet: Fleet, w: Station) -> None:
    w.sim.behave(faults=[{"kind": "missing_model", "name": "checkpoints/v1-5-pruned-emaonly-fp16.safetensors"}])
    async with fleet.agent_of([w.host(warmup=sampled(steps=3), quarantine_failures=1)]):
        worker = await fleet.worker("w", WorkerState.QUARANTINED)
        assert worker.note is not None
        assert "its warm-up graph failed: " in worker.note
        assert "no model file v1-5-pruned-emaonly-fp16.safetensors" in worker.note


async def test_a_disk_that_runs_full_drains_it_until_there_is_room(
    fleet: Fleet, w: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [1_500_000_000]
    monkeypatch.setattr(Home, "free_bytes", lambda _: free[0])
    async with fleet.agent_of([w.host(min_free_gb=2.0)]):
        worker = await fleet.worker("w", WorkerState.DRAINING)
        assert worker.note == f"1.50 GB are free for {w.folder}, less than supervision.min_free_gb of 2"
        free[0] = 2_500_000_000
        assert (await fleet.worker("w")).note is None
        await succeeds(fleet)


async def test_a_folder_that_was_deleted_is_made_anew_with_a_fresh_start(fleet: Fleet, w: Station) -> None:
    async with fleet.agent_of([w.host()]):
        await fleet.worker("w")
        pid = w.process.pid
        shutil.rmtree(w.folder)
        await noted(fleet, "its files cannot be looked after")
        await fleet.worker("w")
        assert w.process.pid != pid
        await succeeds(fleet)


async def test_what_fills_the_disk_is_deleted_if_it_is_its_own(
    fleet: Fleet, w: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "WORTHWHILE_BYTES", 1000)
    monkeypatch.setattr(Home, "free_bytes", lambda home: 3_000_000_000 - 1_000_000 * home.own_bytes())
    async with fleet.agent_of([w.host(min_free_gb=2.0)]):
        await fleet.worker("w")
        pid = w.process.pid
        (w.folder / "input" / "large.png").write_bytes(bytes(2000))
        await noted(fleet, "0.00 GB are its own, which a fresh start deletes")
        await fleet.worker("w")
        assert w.process.pid != pid
        await succeeds(fleet)


async def test_an_agent_that_is_drained_while_its_worker_starts_leaves_nothing_running(
    fleet: Fleet, w: Station
) -> None:
    w.sim.behave(sleep_s=60)
    async with fleet.agent_of([w.host()]) as agent:
        await noted(fleet, "waiting for it to answer")
        process = w.process
        await agent.drain()
        assert not process.alive
