"""/v1/workflows: register, look up, and move the active version."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from orchestrator.api.errors import answer
from orchestrator.api.fleet.views.profile import EstimateView, ProfileView, estimate_view, profile_view
from orchestrator.api.fleet.views.workflows import WorkflowsView, WorkflowView, summary_view, workflow_view
from orchestrator.api.routes import Answer, Route, id_of
from orchestrator.api.services import Services
from orchestrator.controller.estimates import estimate
from orchestrator.controller.requests import Activation, Candidates, Registration, Request
from orchestrator.domain.workflow import Workflow


class WhichVersion(Request):
    version: int | None = None
    """A version other than the active one."""


class Asked(Request):
    """What is to be estimated."""

    version: int | None = None
    """A version other than the active one."""
    candidates: Candidates | None = None
    """Runs of the job; as the workflow has it when omitted."""


class WorkflowRoutes:
    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._registry = services.registry

    def table(self) -> Sequence[Route]:
        workflow = {200: Answer("The workflow.", WorkflowView)}
        unknown = ("workflow_not_found",)
        return (
            Route(
                method="GET", path="/v1/workflows", handler=self.list_workflows, summary="List workflows",
                answers={200: Answer("The active version of each.", WorkflowsView)},
            ),
            Route(
                method="POST", path="/v1/workflows", handler=self.register, body=Registration,
                summary="Register a workflow; the same content again changes nothing, new content is the next version",
                answers={200: Answer("The version that has this content.", WorkflowView)},
                refusals=(
                    "invalid_registration", "invalid_binding", "invalid_schema", "invalid_workflow",
                    "workflow_format_ui",
                ),
            ),
            Route(
                method="GET", path="/v1/workflows/{name}", handler=self.show, query=WhichVersion, answers=workflow,
                summary="Show a workflow", refusals=unknown,
            ),
            Route(
                method="GET", path="/v1/workflows/{name}/versions", handler=self.versions, refusals=unknown,
                summary="List a workflow's versions", answers={200: Answer("Oldest first.", WorkflowsView)},
            ),
            Route(
                method="GET", path="/v1/workflows/{name}/schema", handler=self.schema, query=WhichVersion,
                summary="The JSON Schema of a workflow's params", refusals=unknown,
                answers={200: Answer("The schema.", dict)},
            ),
            Route(
                method="POST", path="/v1/workflows/{name}/activate", handler=self.activate, body=Activation,
                summary="Make a version the one that new jobs get, at once", answers=workflow, refusals=unknown,
            ),
            Route(
                method="GET", path="/v1/workflows/{name}/profile", handler=self.profile, query=WhichVersion,
                summary="Where a workflow's time goes, node by node", refusals=unknown,
                answers={200: Answer("What its last runs took.", ProfileView)},
            ),
            Route(
                method="POST", path="/v1/workflows/{name}/estimate", handler=self.estimate, body=Asked,
                summary="What a job would take and cost", refusals=unknown,
                answers={200: Answer("Learned from its last runs, whatever their params.", EstimateView)},
            ),
        )  # fmt: skip

    async def list_workflows(self, request: web.Request) -> web.StreamResponse:
        active = await self._store.workflows()
        compiled = [await self._registry.compiled(name, version) for name, version in active.items()]
        return answer({"workflows": [summary_view(each.workflow, each.workflow.version) for each in compiled]})

    async def register(self, request: web.Request, body: Registration) -> web.StreamResponse:
        return await self._shown(await self._registry.register(body))

    async def show(self, request: web.Request, query: WhichVersion) -> web.StreamResponse:
        return await self._shown(await self._store.workflow(id_of(request, "workflow", "name"), query.version))

    async def versions(self, request: web.Request) -> web.StreamResponse:
        name = id_of(request, "workflow", "name")
        versions = await self._store.versions(name)
        active = (await self._store.workflows())[name]
        return answer({"workflows": [summary_view(workflow, active) for workflow in versions]})

    async def schema(self, request: web.Request, query: WhichVersion) -> web.StreamResponse:
        workflow = await self._store.workflow(id_of(request, "workflow", "name"), query.version)
        return answer(workflow.params)

    async def activate(self, request: web.Request, body: Activation) -> web.StreamResponse:
        return await self._shown(await self._registry.activate(id_of(request, "workflow", "name"), body.version))

    async def profile(self, request: web.Request, query: WhichVersion) -> web.StreamResponse:
        workflow = await self._store.workflow(id_of(request, "workflow", "name"), query.version)
        return answer(profile_view(workflow, await self._store.samples(workflow.name, workflow.version)))

    async def estimate(self, request: web.Request, body: Asked) -> web.StreamResponse:
        workflow = await self._store.workflow(id_of(request, "workflow", "name"), body.version)
        samples = await self._store.samples(workflow.name, workflow.version)
        found = estimate(workflow, samples, await self._store.workers(), body.candidates)
        return answer(estimate_view(workflow, found))

    async def _shown(self, workflow: Workflow) -> web.StreamResponse:
        return answer(workflow_view(workflow, (await self._store.workflows())[workflow.name]))
