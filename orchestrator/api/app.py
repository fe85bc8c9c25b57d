"""The HTTP server of a controller: every door, one application."""

from __future__ import annotations

from collections.abc import Sequence

import prometheus_client
from aiohttp import web
from prometheus_client import CollectorRegistry

from orchestrator.api.comfy_v2 import contract
from orchestrator.api.comfy_v2.assets import ComfyAssetRoutes
from orchestrator.api.comfy_v2.jobs import ComfyJobRoutes
from orchestrator.api.docs import add_docs
from orchestrator.api.errors import meet_expectation, refuse_in_json, stamp
from orchestrator.api.fleet.assets import AssetRoutes
from orchestrator.api.fleet.costs import CostRoutes
from orchestrator.api.fleet.jobs import JobRoutes
from orchestrator.api.fleet.reviews import ReviewRoutes
from orchestrator.api.fleet.workers import WorkerRoutes
from orchestrator.api.fleet.workflows import WorkflowRoutes
from orchestrator.api.native.door import add_native
from orchestrator.api.operations import OperationRoutes
from orchestrator.api.routes import Route, serve
from orchestrator.api.services import Services
from orchestrator.api.uploads import Uploads
from orchestrator.settings import LimitSettings, RetentionSettings


def create_app(
    services: Services,
    limits: LimitSettings,
    retention: RetentionSettings,
    metrics: CollectorRegistry = prometheus_client.REGISTRY,
) -> web.Application:
    """`services.events.run()` must be running beside it; `metrics` is what the controller counts into."""
    app = web.Application(middlewares=[refuse_in_json, contract.speak], client_max_size=limits.max_body_bytes)
    app.on_response_prepare.extend((stamp, contract.stamp))
    uploads = Uploads(services.store, services.storage, limits.max_upload_bytes)
    table = routes(services, uploads, retention, metrics)
    for route in table:
        methods = ("GET", "HEAD") if route.method == "GET" and not route.streams else (route.method,)
        for method in methods:
            app.router.add_route(method, route.path, serve(route), expect_handler=meet_expectation)
    add_docs(app, table)
    add_native(app, services, uploads, limits.max_upload_bytes)  # last, with whatever file the editor has
    return app


def routes(
    services: Services, uploads: Uploads, retention: RetentionSettings, metrics: CollectorRegistry
) -> Sequence[Route]:
    """All that is documented."""
    return (
        *JobRoutes(services).table(),
        *ReviewRoutes(services).table(),
        *WorkflowRoutes(services).table(),
        *AssetRoutes(services, uploads).table(),
        *WorkerRoutes(services).table(),
        *CostRoutes(services).table(),
        *OperationRoutes(services, metrics).table(),
        *ComfyJobRoutes(services, retention).table(),
        *ComfyAssetRoutes(services, uploads, retention).table(),
    )
