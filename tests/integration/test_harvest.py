"""Outputs that are seen while their run goes on, and what becomes of them when it does not come to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3

from orchestrator.delivery.local import LocalStorage
from orchestrator.domain.asset import Output
from orchestrator.domain.event import EventType
from orchestrator.domain.job import JobStatus
from orchestrator.domain.run import RunState
from orchestrator.settings import LeaseSettings
from orchestrator.store.redis import RedisStore
from tests.fixtures.comfyui import StartSim, StartSimProcess
from tests.fixtures.driving import Fleet, eventually, picture, sampled

GRAPH = {**sampled(steps=1000), **picture()}  # one output at once, and one behind the sampler


@pytest.fixture
async def fleet(store: RedisStore, leases: LeaseSettings, tmp_path: Path) -> AsyncIterator[Fleet]:
    storage = LocalStorage(tmp_path / "storage")
    yield Fleet(store, storage, leases)
    await storage.close()


async def test_what_was_seen_of_a_lost_run_stays_until_it_is_made_anew(
    fleet: Fleet, sim_process: StartSimProcess
) -> None:
    doomed = await sim_process(step_seconds=0.05)
    other = await sim_process(step_seconds=0.0)
    async with fleet.agent(("doomed", doomed.url), ("other", other.url)):
        await fleet.worker("doomed")
        await fleet.worker("other")
        job_id = await fleet.submit(GRAPH, "doomed")

        async def seen() -> tuple[Output, ...]:
            return (await fleet.store.job(job_id)).outputs

        [early] = await eventually(seen, "an output to be seen while its job runs")
        content = await fleet.read(early.path)
        assert f"blake3:{blake3(content).hexdigest()}" == early.hash
        await doomed.kill()
        await fleet.run_in(job_id, RunState.QUEUED, attempt=2)
        assert await seen() == (early,)
        assert await fleet.read(early.path) == content

        await fleet.assign(job_id, "other")
        job = await fleet.job(job_id)
        assert [output.node_id for output in job.outputs] == ["2", "9"]
        assert {output.path.split("/")[2] for output in job.outputs} == {job.runs[-1].id}
        told = [event.data for event in await fleet.store.events(job_id) if event.type is EventType.OUTPUT]
        # ComfyUI writes the graph into its pictures, and with it the folder of the run: so the first one is told anew.
        assert [(data["index"], data["node_id"]) for data in told] == [(0, "2"), (0, "2"), (1, "9")]
        assert {data["index"]: data["hash"] for data in told} == {n: it.hash for n, it in enumerate(job.outputs)}


async def test_what_was_seen_of_a_job_that_fails_is_withdrawn(fleet: Fleet, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.05)
    async with fleet.agent(("w", sim.url)):
        await fleet.worker("w")
        job_id = await fleet.submit(GRAPH, "w")

        async def seen() -> tuple[Output, ...]:
            return (await fleet.store.job(job_id)).outputs

        await eventually(seen, "an output to be seen while its job runs")
        await fleet.store.cancel(job_id)
        job = await fleet.job(job_id)
        assert (job.status, job.outputs) == (JobStatus.CANCELED, ())
        await eventually(lambda: not fleet.stored_runs(), "the files to be gone")
