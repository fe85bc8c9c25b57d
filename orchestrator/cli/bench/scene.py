"""A fleet of which half the workers are to fail: strikes them as they execute, and counts what became of the runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from orchestrator.cli.bench.fleet import until
from orchestrator.cli.bench.workload import long
from orchestrator.cli.client import FleetClient
from orchestrator.domain.event import EventType
from orchestrator.domain.job import Job, JobStatus
from orchestrator.domain.run import Run, RunState
from orchestrator.domain.worker import WorkerState
from orchestrator.store.redis import RedisStore

Strike = Callable[[str], Awaitable[None]]  # has the worker of that id fail


class Scene:
    """The first half of `workers` are the victims; the others are idle, and take over what those had. `steps`: of its
    runs."""

    def __init__(self, client: FleetClient, store: RedisStore, workers: Sequence[str], steps: int) -> None:
        self.workers = workers
        self.victims, self.others = workers[: len(workers) // 2], workers[len(workers) // 2 :]
        self._steps = steps
        self._client = client
        self._store = store
        self._jobs: list[str] = []
        self._struck_at: dict[str, float] = {}  # by worker, in Unix seconds

    def swap(self) -> None:
        """It is the others' turn to fail."""
        self.victims, self.others = self.others, self.victims

    async def give(self, count: int) -> list[str]:
        """The ids of so many new jobs."""
        for seed in range(len(self._jobs), len(self._jobs) + count):
            self._jobs.append((await self._client.post("/v1/jobs", {"workflow": long(self._steps, seed)}))["id"])
        return self._jobs[-count:]

    async def strike(self, strike: Strike, spread_s: float = 0.0) -> list[float]:
        """Has each victim fail while it executes; seconds until its run executes elsewhere. `spread_s`: between the
        first and the last."""
        runs = await self._on_victims()

        async def recovery(number: int, run: Run) -> float:
            await asyncio.sleep(spread_s * number / len(runs))
            worker_id = str(run.worker)
            self._struck_at[worker_id] = time.time()
            await strike(worker_id)
            return await self._elsewhere(run) - self._struck_at[worker_id]

        return list(await asyncio.gather(*(recovery(number, run) for number, run in enumerate(runs))))

    async def spoil(self, spoil: Strike) -> list[float]:
        """The same with victims that are made to fail at the next run that they are given: seconds from then on."""
        for worker_id in self.victims:
            await spoil(worker_id)
        runs = await self._on_victims()
        self._struck_at |= {str(run.worker): run.timings.assigned_at or 0.0 for run in runs}
        started = await asyncio.gather(*map(self._elsewhere, runs))
        return [at - self._struck_at[str(run.worker)] for at, run in zip(started, runs, strict=True)]

    async def ready_again(self, worker_ids: Sequence[str]) -> list[float]:
        """Seconds from when each of them failed until it was ready."""

        async def ready_at(worker_id: str) -> float | None:
            newest = (await self._store.worker_changes(worker_id))[0]
            return newest.at if newest.state is WorkerState.READY else None

        return [
            await until(lambda worker_id=worker_id: ready_at(worker_id), f"{worker_id} to be ready again")
            - self._struck_at[worker_id]
            for worker_id in worker_ids
        ]

    async def over(self) -> list[Job]:
        """All jobs that were given, once they have ended."""

        async def ended(job_id: str) -> Job | None:
            job = await self._store.job(job_id)
            return job if job.terminal else None

        return [await until(lambda job_id=job_id: ended(job_id), f"job {job_id} to end") for job_id in self._jobs]

    async def lost(self) -> int:
        """How many jobs have no result."""
        return sum(job.status is not JobStatus.SUCCEEDED for job in await self.over())

    async def doubled(self) -> int:
        """How many jobs have had more than one."""
        return sum([await self._is_doubled(job) for job in await self.over()])

    async def _is_doubled(self, job: Job) -> bool:
        events = await self._store.events(job.spec.id)
        told = sum(event.type is EventType.OUTPUT for event in events)
        return sum(run.state is RunState.SUCCEEDED for run in job.runs) > 1 or told > len(job.outputs)

    async def _on_victims(self) -> list[Run]:
        """Runs that execute, one on each victim."""
        for worker_id in self.others:
            await self._client.post(f"/v1/workers/{worker_id}/drain")

        async def executing(job_id: str) -> Run | None:
            run = (await self._store.job(job_id)).runs[-1]
            return run if run.state is RunState.RUNNING else None

        jobs = await self.give(len(self.victims))
        runs = [await until(lambda job_id=job_id: executing(job_id), f"job {job_id} to execute") for job_id in jobs]
        for worker_id in self.others:
            await self._client.post(f"/v1/workers/{worker_id}/resume")
        return runs

    async def _elsewhere(self, run: Run) -> float:
        """When the next run of its job began (Unix seconds)."""

        async def began() -> float | None:
            newest = (await self._store.job(run.job_id)).runs[-1]
            return newest.timings.started_at if newest.id != run.id else None

        return await until(began, f"job {run.job_id} to go on elsewhere")
