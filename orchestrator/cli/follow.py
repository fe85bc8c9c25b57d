"""Follows submitted jobs to their end: a live bar on a terminal, one line for each change of status on a pipe."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from orchestrator.cli.client import FleetClient
from orchestrator.cli.console import err
from orchestrator.domain.job import TERMINAL

BARS_AT_MOST = 8  # jobs with a bar of their own; beyond that one bar counts finished jobs
CONNECTIONS = 200  # jobs followed at a time; the events of the others wait for us on the fleet

Job = dict[str, Any]


class Display(Protocol):
    def event(self, job_id: str, kind: str, data: Mapping[str, Any]) -> None: ...


async def follow(
    fleet: FleetClient,
    jobs: Sequence[Job],
    finished: Callable[[Job], Any] | None = None,
    label: Callable[[Job], str] | None = None,
) -> list[Job]:
    """Waits until every job has ended and answers them as they then are, in the order given. `finished`, if given,
    is awaited with each job as it ends."""
    labels = {job["id"]: label(job) if label else f"job {job['id']}" for job in jobs}
    turn = asyncio.Semaphore(CONNECTIONS)
    async with _display(labels) as display:

        async def one(job_id: str) -> Job:
            async with turn:
                async for kind, data in fleet.events(job_id):
                    display.event(job_id, kind, data)
            job: Job = await fleet.get(f"/v1/jobs/{job_id}")
            if finished:
                await finished(job)
            return job

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(job["id"])) for job in jobs]
        return [task.result() for task in tasks]


@asynccontextmanager
async def _display(labels: Mapping[str, str]) -> AsyncIterator[Display]:
    if not err.is_terminal:
        yield _Lines(labels)
        return
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn()
    with Progress(*columns, console=err) as progress:
        yield (_Bars if len(labels) <= BARS_AT_MOST else _Tally)(progress, labels)


class _Lines:
    """For a pipe: what a log wants to know."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels

    def event(self, job_id: str, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "status":
            err.print(f"{self._labels[job_id]}: {data['status']}")


class _Bars:
    """A bar for each job."""

    def __init__(self, progress: Progress, labels: Mapping[str, str]) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {
            job_id: progress.add_task(label, total=1.0, state="queued") for job_id, label in labels.items()
        }

    def event(self, job_id: str, kind: str, data: Mapping[str, Any]) -> None:
        bar = self._bars[job_id]
        if kind == "progress":
            steps = f" {data['step']}/{data['steps']}" if data.get("steps") else ""
            self._progress.update(bar, completed=data["value"], state=f"{data.get('node_class') or 'running'}{steps}")
        elif kind == "status":
            completed = 1.0 if data["status"] == "succeeded" else None
            ahead = f", {data['queue_position']} ahead" if data.get("queue_position") else ""
            self._progress.update(bar, completed=completed, state=data["status"] + ahead)
            if data["status"] in TERMINAL:
                self._progress.stop_task(bar)


class _Tally:
    """One bar for a batch."""

    def __init__(self, progress: Progress, labels: Mapping[str, str]) -> None:
        self._progress = progress
        self._status = dict.fromkeys(labels, "queued")
        self._bar = progress.add_task(f"{len(labels)} jobs", total=len(labels), state="")

    def event(self, job_id: str, kind: str, data: Mapping[str, Any]) -> None:
        if kind != "status":
            return
        self._status[job_id] = data["status"]
        counts = Counter(self._status.values())
        done = sum(counts[status] for status in TERMINAL)
        state = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        self._progress.update(self._bar, completed=done, state=state)
