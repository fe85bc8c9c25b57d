"""The stream of a job under /api/v2: how it stands at first, then what happens, every output before the last status.

The contract has no cursor: whoever reconnects is shown how the job stands once more, and not its whole story. Within
one stream nothing is told twice, be it that a snapshot and the first live events overlap, or that a retry makes an
output anew: a lost worker costs those who watch nothing but time. The job itself tells what it has in the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from orchestrator.api.comfy_v2.views import Site, output_view, progress_view, told_output, told_progress
from orchestrator.controller.events import EventHub
from orchestrator.domain.asset import Output
from orchestrator.domain.event import Event, EventType
from orchestrator.domain.job import Job, JobStatus
from orchestrator.store.port import JobStore


async def follow(store: JobStore, hub: EventHub, job_id: str, site: Site) -> AsyncGenerator[Event, None]:
    """Until the job has ended. Raises NotFound."""
    after = await store.last_event(job_id)  # asked for first: what happens from here on comes live
    job = await store.job(job_id)
    teller = _Teller(job, site)
    for event in teller.snapshot():
        yield event
    if job.terminal:
        return
    async with aclosing(hub.subscribe(job_id, after)) as events:
        async for event in events:
            if told := teller.told(event):
                yield told


class _Teller:
    """One stream: remembers what it has told."""

    def __init__(self, job: Job, site: Site) -> None:
        self._job = job
        self._site = site
        self._status: str | None = None
        self._outputs: dict[int, tuple[str, str]] = {}  # index -> node and name

    def snapshot(self) -> list[Event]:
        """How the job stands; the status of one that has ended comes last."""
        job = self._job
        self._status = job.status.value
        data: dict[str, str | int] = {"status": self._status}
        if job.status is JobStatus.QUEUED and job.queue_position is not None:
            data["queue_position"] = job.queue_position
        status = Event(EventType.STATUS, data)
        rest: list[Event] = []
        if job.progress is not None:
            rest.append(Event(EventType.PROGRESS, progress_view(job.progress)))
        rest += [event for n, output in enumerate(job.outputs) if (event := self._output(n, output))]
        return [*rest, status] if job.terminal else [status, *rest]

    def told(self, event: Event) -> Event | None:
        """An event of the store as this door tells it; None for what is not new, or not for this door."""
        match event.type:
            case EventType.STATUS if event.data["status"] != self._status:
                self._status = event.data["status"]
                return Event(event.type, {"status": self._status})
            case EventType.PROGRESS:
                return Event(event.type, told_progress(event.data))
            case EventType.OUTPUT:
                return self._output(*told_output(event.data))
            case EventType.PREVIEW:
                return Event(event.type, {**event.data, "node_id": event.data["node_id"] or ""})
            case _:
                return None

    def _output(self, n: int, output: Output) -> Event | None:
        place = (output.node_id, output.name)
        if self._outputs.get(n) == place:
            return None
        self._outputs[n] = place
        return Event(EventType.OUTPUT, output_view(self._job, n, output, self._site))
