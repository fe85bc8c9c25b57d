"""An agent: its drivers, their mail, and how it goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.delivery.local import LocalStorage
from orchestrator.domain.job import JobStatus
from orchestrator.domain.run import RunState
from orchestrator.domain.worker import WorkerState
from orchestrator.settings import LeaseSettings
from orchestrator.store.port import Assignment, Mail, MailKind
from orchestrator.store.redis import RedisStore
from orchestrator.worker.tenure import Tenure
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import Fleet, eventually, picture, sampled


@pytest.fixture
def leases() -> LeaseSettings:
    return LeaseSettings(worker_s=5.0, heartbeat_s=1.0)


@pytest.fixture
async def fleet(store: RedisStore, leases: LeaseSettings, tmp_path: Path) -> AsyncIterator[Fleet]:
    storage = LocalStorage(tmp_path / "storage")
    yield Fleet(store, storage, leases)
    await storage.close()


async def test_every_worker_gets_its_own_mail(fleet: Fleet, sim_comfyui: StartSim) -> None:
    one, two = await sim_comfyui(), await sim_comfyui()
    async with fleet.agent(("one", one.url), ("two", two.url)):
        for worker in ("one", "two"):
            await fleet.worker(worker)
        jobs = [await fleet.submit(picture(color), worker) for color, worker in enumerate(("one", "two", "two"))]
        for job_id in jobs:
            assert (await fleet.job(job_id)).status is JobStatus.SUCCEEDED
        assert (len(one.spans), len(two.spans)) == (1, 2)


async def test_a_worker_that_is_told_to_free_its_memory_holds_nothing(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        await fleet.job(await fleet.submit(sampled(steps=1), "w"))
        assert (await fleet.store.worker("w")).residency.vram
        await fleet.store.post(Mail(MailKind.FREE, "w"))

        async def loads_again() -> bool:
            await fleet.job(await fleet.submit(sampled(steps=1), "w"))
            return next(iter(sim.loads.values())) == 2

        await eventually(loads_again, "the model to be loaded again")


async def test_a_drained_agent_finishes_what_executes_and_gives_back_what_waits(
    fleet: Fleet, sim_comfyui: StartSim
) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    async with fleet.agent(("w", sim.url)) as agent:
        await fleet.worker("w")
        executing = await fleet.submit(sampled(steps=40), "w")
        waiting = await fleet.submit(sampled(steps=41), "w")
        await fleet.run_in(executing, RunState.RUNNING)
        draining = asyncio.create_task(agent.drain())
        returned = await fleet.run_in(waiting, RunState.RETURNED)
        assert returned.outcome == "the agent of its worker was stopped"
        assert (await fleet.store.worker("w")).state is WorkerState.DRAINING
        too_late = await fleet.submit(picture())
        (run,) = (await fleet.store.job(too_late)).runs
        assert await fleet.store.assign([Assignment(run.id, 1, "w", {})]) == [False], "it is given nothing more"
        assert (await fleet.job(executing)).status is JobStatus.SUCCEEDED
        await draining
        assert (await fleet.store.worker("w")).state is WorkerState.DOWN
        await fleet.run_in(waiting, RunState.QUEUED, attempt=2)
        assert len(sim.spans) == 1


async def test_an_idle_agent_drains_at_once(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with fleet.agent(("w", sim.url), ("absent", "http://127.0.0.1:9")) as agent:
        await fleet.worker("w")
        await fleet.worker("absent", WorkerState.DOWN)
        async with asyncio.timeout(5):
            await agent.drain()


async def test_a_driver_that_crashes_starts_again_and_says_why(
    fleet: Fleet, sim_comfyui: StartSim, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await sim_comfyui(), await sim_comfyui()
    serve, crashes = Tenure.serve, ["a bug"]

    async def crashing(self: Tenure, anew: bool) -> object:
        if self._info.id == "one" and crashes:  # pyright: ignore[reportPrivateUsage]
            raise RuntimeError(crashes.pop())
        return await serve(self, anew)

    monkeypatch.setattr(Tenure, "serve", crashing)
    async with fleet.agent(("one", one.url), ("two", two.url)):
        await fleet.worker("two")
        await fleet.worker("one")
        job = await fleet.job(await fleet.submit(picture(), "one"))
        assert job.status is JobStatus.SUCCEEDED
    crash = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert "the driver of one crashed" in crash.message
    assert "a bug" in caplog.text
