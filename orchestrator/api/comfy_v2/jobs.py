"""/api/v2/jobs: submit, list, watch, cancel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing

from aiohttp import web

from orchestrator.api import sse
from orchestrator.api.comfy_v2.contract import ROOT
from orchestrator.api.comfy_v2.events import follow
from orchestrator.api.comfy_v2.outputs import Outputs
from orchestrator.api.comfy_v2.requests import ComfyJob, ComfyJobFilter
from orchestrator.api.comfy_v2.views import (
    ComfyHealthView,
    ComfyJobsView,
    ComfyJobView,
    ComfyWorkflowView,
    Site,
    job_view,
    summary_view,
)
from orchestrator.api.errors import answer
from orchestrator.api.routes import Answer, Route, id_of
from orchestrator.api.services import Services
from orchestrator.controller.requests import GraphJob
from orchestrator.domain.job import Job
from orchestrator.errors import InvalidRequest
from orchestrator.settings import RetentionSettings
from orchestrator.store.port import JobQuery

_KEY = "Idempotency-Key"
_UNKNOWN = ("job_not_found",)


class ComfyJobRoutes:
    def __init__(self, services: Services, retention: RetentionSettings) -> None:
        self._store = services.store
        self._intake = services.intake
        self._events = services.events
        self._outputs = Outputs(services)
        self._retention = retention

    def table(self) -> Sequence[Route]:
        return (*self._collection(), *self._one())

    def _collection(self) -> Sequence[Route]:
        return (
            Route(
                method="GET", path=f"{ROOT}/health", handler=self.health, summary="Whether jobs can be taken",
                answers={200: Answer("They can.", ComfyHealthView)},
            ),
            Route(
                method="POST", path=f"{ROOT}/jobs", handler=self.submit, body=ComfyJob, summary="Run a workflow",
                headers={_KEY: "May be used once: a second use is refused, so that no job is made twice."},
                answers={201: Answer("It is queued.", ComfyJobView)},
                refusals=(
                    "idempotency_key_reuse", "invalid_workflow", "metadata_invalid", "missing_asset", "queue_full",
                    "workflow_format_ui",
                ),
            ),
            Route(
                method="GET", path=f"{ROOT}/jobs", handler=self.list_jobs, query=ComfyJobFilter, summary="List jobs",
                answers={200: Answer("A page of jobs, newest first.", ComfyJobsView)},
                refusals=("invalid_cursor", "invalid_metadata_filter", "metadata_invalid"),
            ),
        )  # fmt: skip

    def _one(self) -> Sequence[Route]:
        job = {200: Answer("The job.", ComfyJobView)}
        return (
            Route(
                method="GET", path=f"{ROOT}/jobs/{{id}}", handler=self.show, summary="Show a job", answers=job,
                refusals=_UNKNOWN,
            ),
            Route(
                method="POST", path=f"{ROOT}/jobs/{{id}}/cancel", handler=self.cancel, answers=job,
                summary="Stop a job; one that has ended is left as it is", refusals=_UNKNOWN,
            ),
            Route(
                method="GET", path=f"{ROOT}/jobs/{{id}}/workflow", handler=self.workflow, refusals=_UNKNOWN,
                summary="Show what a job runs", answers={200: Answer("The graph in API format.", ComfyWorkflowView)},
            ),
            Route(
                method="GET", path=f"{ROOT}/jobs/{{id}}/events", handler=self.events, summary="Follow a job",
                refusals=_UNKNOWN,
                answers={
                    200: Answer(
                        "How it stands, then events `status`, `progress`, `preview` and `output`; it ends after the "
                        "last status.", media="text/event-stream",
                    )
                },
            ),
        )  # fmt: skip

    async def health(self, request: web.Request) -> web.StreamResponse:
        await self._store.ping()
        return answer({"status": "healthy"})

    async def submit(self, request: web.Request, body: ComfyJob) -> web.StreamResponse:
        wanted = GraphJob(workflow=body.workflow, metadata=body.metadata)
        key = request.headers.get(_KEY)
        keys = {} if body.extra_data is None else body.extra_data.keys()
        try:
            job = await self._submitted(wanted, key, keys)
        except InvalidRequest as refusal:
            if refusal.code != "missing_asset" or not (graph := await self._outputs.taken_in(body.workflow)):
                raise
            job = await self._submitted(wanted.model_copy(update={"workflow": graph}), key, keys)
        return self._shown(request, job, 201)

    async def list_jobs(self, request: web.Request, query: ComfyJobFilter) -> web.StreamResponse:
        page = await self._store.jobs(JobQuery(labels=query.metadata, limit=query.limit, cursor=query.cursor))
        return answer({"jobs": [summary_view(job) for job in page.jobs], "next_cursor": page.cursor})

    async def show(self, request: web.Request) -> web.StreamResponse:
        return self._shown(request, await self._store.job(id_of(request, "job")))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        return self._shown(request, await self._store.cancel(id_of(request, "job")))

    async def workflow(self, request: web.Request) -> web.StreamResponse:
        return answer({"workflow": await self._store.graph(id_of(request, "job")), "format": "api"})

    async def events(self, request: web.Request) -> web.StreamResponse:
        job_id = id_of(request, "job")
        await self._store.job(job_id)  # refuses what is none: the stream would do so in the midst of the answer
        async with aclosing(follow(self._store, self._events, job_id, self._site(request))) as events:
            return await sse.stream(request, events)

    async def _submitted(self, wanted: GraphJob, key: str | None, keys: Mapping[str, str]) -> Job:
        try:
            return (await self._intake.submit_graph(wanted, key, once=True, keys=keys)).job
        except InvalidRequest as refusal:
            if refusal.code != "idempotency_key_reuse":
                raise
            message = "this Idempotency-Key was used before: each may be used once, so look for the job that it made"
            raise InvalidRequest(refusal.code, message, **refusal.details) from None

    def _shown(self, request: web.Request, job: Job, status: int = 200) -> web.StreamResponse:
        return answer(job_view(job, self._site(request)), status)

    def _site(self, request: web.Request) -> Site:
        return Site.of(request, self._retention)
