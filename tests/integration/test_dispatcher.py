"""Dispatcher, reaper and leadership on a real Redis, in front of real agents and simulated ComfyUIs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.controller.dispatcher import Dispatcher
from orchestrator.controller.leadership import Leadership
from orchestrator.controller.metrics import DispatchMetrics
from orchestrator.controller.reaper import Reaper
from orchestrator.delivery.local import LocalStorage
from orchestrator.domain.job import JobSpec, JobStatus, Priority
from orchestrator.domain.run import QueueEntry, RunState
from orchestrator.domain.worker import WorkerState
from orchestrator.errors import NotFound
from orchestrator.graph.needs import needs
from orchestrator.scheduling import index, infeasible
from orchestrator.scheduling.policy import Rules
from orchestrator.settings import LeaseSettings, RetentionSettings
from orchestrator.store.port import Submission
from orchestrator.store.redis import RedisStore
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import Fleet, Graph, eventually, new_id, picture, sampled

GIB = 1 << 30
SDXL = "sd_xl_base_1.0.safetensors"


@pytest.fixture
def leases() -> LeaseSettings:
    return LeaseSettings(worker_s=1.5, heartbeat_s=0.3, sweep_s=0.2, leader_s=1.5)


@pytest.fixture
async def fleet(store: RedisStore, leases: LeaseSettings, tmp_path: Path) -> AsyncIterator[Fleet]:
    storage = LocalStorage(tmp_path / "storage")
    yield Fleet(store, storage, leases)
    await storage.close()


@asynccontextmanager
async def controller(
    fleet: Fleet, name: str = "one", retention: RetentionSettings | None = None
) -> AsyncIterator[CollectorRegistry]:
    """Dispatches and reaps while the body runs; then it resigns."""
    registry = CollectorRegistry()
    leadership = Leadership(fleet.store, name, fleet.leases)
    dispatcher = Dispatcher(fleet.store, leadership, Rules(), DispatchMetrics(registry))
    reaper = Reaper(fleet.store, fleet.storage, leadership, fleet.leases, retention or RetentionSettings())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.run()) for each in (leadership, dispatcher, reaper)]
        yield registry
        for task in tasks:
            task.cancel()


async def submit(fleet: Fleet, graph: Graph, profile: str = "flow@1") -> str:
    """As the intake does: with what the graph needs."""
    job_id, now = new_id(), time.time()
    job = JobSpec(job_id, "default", Priority.NORMAL, 60.0, 2, now)
    entry = QueueEntry(new_id(), job_id, 1, "default", "normal", now, profile, needs(graph))
    await fleet.store.submit(Submission(job, graph, entry))
    return job_id


def with_model(name: str, seed: int) -> Graph:
    graph = sampled(steps=2, seed=seed)
    graph["4"]["inputs"]["ckpt_name"] = name
    return graph


async def test_two_workers_and_two_models_interleaved_load_each_model_once(fleet: Fleet, sim_comfyui: StartSim) -> None:
    options = {"vram_bytes": 8 * GIB, "disk_speed": 20e9, "bus_speed": 50e9, "step_seconds": 0.01}
    sims = [await sim_comfyui(**options), await sim_comfyui(**options)]
    async with fleet.agent(("w1", sims[0].url), ("w2", sims[1].url)), controller(fleet):
        await fleet.worker("w1")
        await fleet.worker("w2")
        models = ("v1-5-pruned-emaonly-fp16.safetensors", SDXL) * 12
        jobs = [await submit(fleet, with_model(name, seed), f"{name}@1") for seed, name in enumerate(models)]
        for job_id in jobs:
            assert (await fleet.job(job_id)).status is JobStatus.SUCCEEDED
    loads = Counter(sims[0].loads) + Counter(sims[1].loads)
    assert loads == {f"checkpoints/{name}": 1 for name in models[:2]}
    assert {job.runs[0].worker for job in [await fleet.store.job(job_id) for job_id in jobs]} == {"w1", "w2"}


async def test_a_run_is_assigned_at_once_with_its_reasons_and_counted(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w1", sim.url)), controller(fleet) as registry:
        await fleet.worker("w1")
        delays: list[float] = []
        for color in range(20):
            job = await fleet.job(await submit(fleet, picture(color)))
            (run,) = job.runs
            assert run.timings.assigned_at is not None
            delays.append(run.timings.assigned_at - run.timings.queued_at)
            assert (
                run.reasons["why"] == "is free and has nothing to load; no other worker that was looked at can take it"
            )
        assert statistics.median(delays) < 0.05  # a couple of milliseconds on a machine that does nothing else
        counted = {"workflow": "flow", "state": "succeeded"}
        await eventually(lambda: registry.get_sample_value("comfyfleet_runs_ended_total", counted) == 20, "the count")
        assert registry.get_sample_value("comfyfleet_run_execute_seconds_count", {"workflow": "flow"}) == 20
        assert registry.get_sample_value("comfyfleet_run_wait_seconds_count", {"workflow": "flow"}) == 20
        waited = registry.get_sample_value("comfyfleet_run_wait_seconds_sum", {"workflow": "flow"})
        assert waited is not None and 0 < waited < 20 * 2.0


async def test_a_worker_that_is_not_heard_from_goes_down_and_its_run_elsewhere(
    fleet: Fleet, sim_comfyui: StartSim
) -> None:
    one, two = await sim_comfyui(step_seconds=0.05), await sim_comfyui()
    async with controller(fleet):
        async with fleet.agent(("w1", one.url), name="doomed"):
            await fleet.worker("w1")
            job_id = await submit(fleet, sampled(steps=400))
            await fleet.run_in(job_id, RunState.RUNNING)
        async with fleet.agent(("w2", two.url), name="other"):
            job = await fleet.job(job_id)
            assert [(run.worker, run.state) for run in job.runs] == [
                ("w1", RunState.LOST),
                ("w2", RunState.SUCCEEDED),
            ]
            assert (await fleet.store.worker("w1")).state is WorkerState.DOWN


async def test_what_no_worker_can_do_fails_with_what_is_missing(
    fleet: Fleet, sim_comfyui: StartSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "GRACE_S", 0.2)
    monkeypatch.setattr(infeasible, "GRACE_S", 0.2)
    sim = await sim_comfyui()
    async with fleet.agent(("w1", sim.url)), controller(fleet):
        await fleet.worker("w1")
        job = await fleet.job(await submit(fleet, with_model("absent.safetensors", 1)))
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert job.error.code == "no_capable_worker"
        assert "put absent.safetensors into models/checkpoints" in job.error.message


async def test_one_controller_leads_and_the_other_takes_over_when_it_stops(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w1", sim.url)), controller(fleet, "two"):
        await fleet.worker("w1")
        async with controller(fleet, "one"):
            assert (await fleet.job(await submit(fleet, picture(1)))).status is JobStatus.SUCCEEDED
        assert (await fleet.job(await submit(fleet, picture(2)))).status is JobStatus.SUCCEEDED
    learned = (await fleet.store.snapshot()).learned
    assert learned is None or b"flow@1" in learned


async def test_ended_jobs_go_after_their_retention_files_first(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w1", sim.url)):
        async with controller(fleet):
            await fleet.worker("w1")
            job_id = await submit(fleet, picture())
            (output,) = (await fleet.job(job_id)).outputs
            assert await fleet.storage.size(output.path) == output.size_bytes
        async with controller(fleet, retention=RetentionSettings(jobs_s=0.0)):

            async def forgotten() -> bool:
                try:
                    await fleet.store.job(job_id)
                except NotFound:
                    return True
                return False

            await eventually(forgotten, "the job to be forgotten")
    with pytest.raises(NotFound):
        await fleet.storage.size(output.path)


async def test_unused_assets_go_after_their_retention(fleet: Fleet) -> None:
    asset = await fleet.upload(b"a picture", "a.png")
    async with controller(fleet, retention=RetentionSettings(assets_s=0.0)):

        async def swept() -> bool:
            try:
                await fleet.store.asset(asset.id)
            except NotFound:
                return True
            return False

        await eventually(swept, "the asset to be swept")
        with pytest.raises(NotFound):
            await fleet.read(f"assets/{asset.hash.removeprefix('blake3:')[:2]}/{asset.hash.removeprefix('blake3:')}")
