"""/v1/workflows: register, look up, and move the active version."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from orchestrator.api.errors import answer
from orchestrator.api.fleet.views.workflows import WorkflowsView, WorkflowView, summary_view, workflow_view
from orchestrator.api.routes import Answer, Route, id_of
from orchestrator.api.services import Services
from orchestrator.controller.requests import Activation, Registration, Request
from orchestrator.domain.workflow import Workflow


class WhichVersion(Request):
    version: int | None = None
    """A version other than the active one."""


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

    async def _shown(self, workflow: Workflow) -> web.StreamResponse:
        return answer(workflow_view(workflow, (await self._store.workflows())[workflow.name]))
