"""/v1/jobs: submit, watch, cancel, fetch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.api import sse
from orchestrator.api.errors import answer
from orchestrator.api.files import FILE_ANSWERS, RANGE_HEADER, StoredFile, send
from orchestrator.api.fleet.views.explanation import ExplanationView, explanation_view
from orchestrator.api.fleet.views.jobs import JobsView, JobView, job_view
from orchestrator.api.fleet.views.outputs import told_output
from orchestrator.api.routes import Answer, Route, id_of
from orchestrator.api.services import Services
from orchestrator.controller.events import order
from orchestrator.controller.intake import Accepted
from orchestrator.controller.offers import ModelContents, Offers
from orchestrator.controller.requests import GraphJob, Labels, Request, WorkflowJob
from orchestrator.domain.asset import Output
from orchestrator.domain.event import Event, EventType
from orchestrator.domain.job import Job, JobStatus
from orchestrator.domain.outlook import Outlook
from orchestrator.domain.run import RunState
from orchestrator.domain.worker import Worker
from orchestrator.errors import NotFound
from orchestrator.scheduling.explain import obstacles
from orchestrator.store.port import JobQuery

OUTLOOK_S = 1.0  # that an explanation waits for what the dispatcher says
_KEY = "Idempotency-Key"
_SUBMITTED = {
    202: Answer("It is queued. With `wait`: it has not ended yet.", JobView),
    200: Answer("With `wait`: it has ended. With an Idempotency-Key: the job that this key made before.", JobView),
}
_SUBMIT_REFUSALS = (
    "invalid_idempotency_key", "idempotency_key_reuse", "invalid_workflow", "metadata_invalid", "missing_asset",
    "queue_full",
)  # fmt: skip
_SUBMIT_HEADERS = {_KEY: "The same key and body make one job, however often they are sent within 24 hours."}


class Wait(Request):
    wait: float = Field(default=0, ge=0, le=300, allow_inf_nan=False)
    """Seconds to wait for the job to end before answering."""


class JobFilter(Request):
    status: JobStatus | None = None
    workflow: str | None = None
    label: Labels = Field(default_factory=dict)
    """label[KEY]=VALUE: jobs whose metadata says so."""
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: str | None = None
    """`next_cursor` of the page before."""


class JobRoutes:
    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._intake = services.intake
        self._events = services.events
        self._storage = services.storage

    def table(self) -> Sequence[Route]:
        return (*self._submitting(), *self._watching(), *self._reading())

    def _submitting(self) -> Sequence[Route]:
        return (
            Route(
                method="POST", path="/v1/workflows/{name}/jobs", handler=self.submit_workflow, query=Wait,
                body=WorkflowJob, headers=_SUBMIT_HEADERS, summary="Submit a job of a workflow", answers=_SUBMITTED,
                refusals=("workflow_not_found", "invalid_params", *_SUBMIT_REFUSALS),
            ),
            Route(
                method="POST", path="/v1/jobs", handler=self.submit_graph, query=Wait, body=GraphJob,
                headers=_SUBMIT_HEADERS, summary="Submit a raw graph", answers=_SUBMITTED,
                refusals=("workflow_format_ui", "unknown_output", *_SUBMIT_REFUSALS),
            ),
        )  # fmt: skip

    def _watching(self) -> Sequence[Route]:
        job = {200: Answer("The job.", JobView)}
        return (
            Route(
                method="GET", path="/v1/jobs", handler=self.list_jobs, query=JobFilter, summary="List jobs",
                answers={200: Answer("A page of jobs, newest first.", JobsView)},
                refusals=("invalid_cursor", "metadata_invalid"),
            ),
            Route(
                method="GET", path="/v1/jobs/{id}", handler=self.show, summary="Show a job", answers=job,
                refusals=("job_not_found",),
            ),
            Route(
                method="POST", path="/v1/jobs/{id}/cancel", handler=self.cancel, answers=job,
                summary="Stop a job; one that has ended is left as it is", refusals=("job_not_found",),
            ),
            Route(
                method="GET", path="/v1/jobs/{id}/events", handler=self.events, summary="Follow a job",
                headers={"Last-Event-ID": "Resume after this event."},
                answers={
                    200: Answer(
                        "Events `status`, `progress`, `output` and `preview`; it ends after the last status.",
                        media="text/event-stream",
                    ),
                    204: Answer("The job has ended, and there is nothing after Last-Event-ID.", media=""),
                },
                refusals=("job_not_found", "invalid_event_id"),
            ),
        )  # fmt: skip

    def _reading(self) -> Sequence[Route]:
        return (
            Route(
                method="GET", path="/v1/jobs/{id}/outputs/{n}", handler=self.output, summary="Fetch an output",
                headers=RANGE_HEADER, answers=FILE_ANSWERS,
                refusals=("job_not_found", "output_not_found", "range_not_satisfiable"),
            ),
            Route(
                method="GET", path="/v1/jobs/{id}/candidates/{slot}/outputs/{n}", handler=self.candidate_output,
                summary="Fetch an output of a candidate, delivered or not", headers=RANGE_HEADER, answers=FILE_ANSWERS,
                refusals=("job_not_found", "output_not_found", "range_not_satisfiable"),
            ),
            Route(
                method="GET", path="/v1/jobs/{id}/explain", handler=self.explain, refusals=("job_not_found",),
                summary="Why a job is where it is", answers={200: Answer("The explanation.", ExplanationView)},
            ),
        )  # fmt: skip

    async def submit_workflow(self, request: web.Request, query: Wait, body: WorkflowJob) -> web.StreamResponse:
        accepted = await self._intake.submit_workflow(
            id_of(request, "workflow", "name"), body, request.headers.get(_KEY)
        )
        return await self._accepted(accepted, query.wait)

    async def submit_graph(self, request: web.Request, query: Wait, body: GraphJob) -> web.StreamResponse:
        return await self._accepted(await self._intake.submit_graph(body, request.headers.get(_KEY)), query.wait)

    async def list_jobs(self, request: web.Request, query: JobFilter) -> web.StreamResponse:
        page = await self._store.jobs(
            JobQuery(query.status, query.workflow, query.label, limit=query.limit, cursor=query.cursor)
        )
        return answer({"jobs": [job_view(job) for job in page.jobs], "next_cursor": page.cursor})

    async def show(self, request: web.Request) -> web.StreamResponse:
        return answer(job_view(await self._job(request)))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        return answer(job_view(await self._store.cancel(id_of(request, "job"))))

    async def events(self, request: web.Request) -> web.StreamResponse:
        after = request.headers.get("Last-Event-ID")
        if after is not None:
            order(after)  # refuses what is none: the subscription would do so in the midst of the answer
        job = await self._job(request)
        if after is not None and job.terminal and not await self._store.events(job.spec.id, after):
            return web.Response(status=204)  # tells an EventSource to stop reconnecting
        async with aclosing(self._events.subscribe(job.spec.id, after)) as events:
            return await sse.stream(request, _presented(job.spec.id, events))

    async def output(self, request: web.Request) -> web.StreamResponse:
        job = await self._job(request)
        return await self._send(request, job, job.outputs, f"job {job.spec.id} is {job.status}")

    async def candidate_output(self, request: web.Request) -> web.StreamResponse:
        job, slot = await self._job(request), request.match_info["slot"]
        outputs = next((run.outputs for run in reversed(job.runs) if str(run.slot) == slot), ())
        what = f"candidate {slot} of job {job.spec.id} is not there, or not done,"
        return await self._send(request, job, outputs, what)

    async def _send(self, request: web.Request, job: Job, outputs: Sequence[Output], what: str) -> web.StreamResponse:
        number = request.match_info["n"]
        if not number.isdecimal() or int(number[:9]) >= len(outputs):
            raise NotFound("output_not_found", f"{what} and has {len(outputs)} outputs, from 0 on")
        return await send(request, self._storage, StoredFile.of_output(job, outputs[int(number)]))

    async def explain(self, request: web.Request) -> web.StreamResponse:
        job = await self._job(request)
        workers = [worker for worker in await self._store.workers() if worker.info.pool == job.spec.pool]
        obstacles, outlook = await self._obstacles(job, workers), await self._outlook(job)
        return answer(explanation_view(job, workers, obstacles, outlook))

    async def _outlook(self, job: Job) -> Outlook | None:
        """Where its queued run stands, while it has one and somebody dispatches."""
        last = job.runs[-1]
        return await self._store.outlook(last.id, OUTLOOK_S) if last.state is RunState.QUEUED else None

    async def _obstacles(self, job: Job, workers: Sequence[Worker]) -> Mapping[str, str]:
        """Why which worker cannot take the job's queued run, while it has one."""
        last = job.runs[-1]
        entry = await self._store.entry(last.id) if last.state is RunState.QUEUED else None
        if entry is None:
            return {}
        offers, contents = Offers(self._store), ModelContents(self._store)
        known = [(worker, await contents.of(worker.models)) for worker in workers]
        return obstacles(entry, [(worker, await offers.of(worker.info.catalog, its)) for worker, its in known])

    async def _job(self, request: web.Request) -> Job:
        return await self._store.job(id_of(request, "job"))

    async def _accepted(self, accepted: Accepted, wait_s: float) -> web.StreamResponse:
        job = accepted.job
        if wait_s and not job.terminal:
            job = await self._events.wait(job.spec.id, wait_s)
        status = 200 if job.terminal or not accepted.created else 202
        return answer(job_view(job), status, {"Location": f"/v1/jobs/{job.spec.id}"})


async def _presented(job_id: str, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """Outputs as the job's JSON shows them."""
    async for event in events:
        yield replace(event, data=told_output(job_id, event.data)) if event.type is EventType.OUTPUT else event
