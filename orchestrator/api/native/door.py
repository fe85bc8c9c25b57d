"""The door: what of ComfyUI's own API there is, put onto the application. Every route is at its path and below /api."""

from __future__ import annotations

from aiohttp import web

from orchestrator.api.errors import meet_expectation
from orchestrator.api.native.answers import native
from orchestrator.api.native.callers import Callers
from orchestrator.api.native.catalog import CatalogRoutes, features
from orchestrator.api.native.editor import PREFIX, EditorRoutes
from orchestrator.api.native.files import FileRoutes
from orchestrator.api.native.jobs import ComfyJobs
from orchestrator.api.native.packs import PackRoutes
from orchestrator.api.native.prompts import PromptRoutes
from orchestrator.api.native.sockets import Sockets
from orchestrator.api.native.userdata import UserRoutes
from orchestrator.api.services import Services
from orchestrator.api.uploads import Uploads
from orchestrator.controller.inputs import Inputs
from orchestrator.controller.object_info import ObjectInfo
from orchestrator.controller.postings import POOL, Postings


def add_native(app: web.Application, services: Services, uploads: Uploads, max_upload_bytes: int) -> None:
    """What it promises is in ComfyUI's own documentation, and not in ours."""
    store, callers = services.store, Callers()
    inputs = Inputs(store, services.storage)
    prompts = PromptRoutes(store, Postings(services.intake, services.catalogs, inputs), callers)
    supported = features(max_upload_bytes)
    sockets = Sockets(store, services.events, callers, supported)
    app.on_shutdown.append(sockets.close)
    tables = (
        *prompts.table(),
        *FileRoutes(store, services.storage, inputs, uploads, services.events, callers).table(),
        *CatalogRoutes(store, ObjectInfo(store, inputs, POOL), supported, POOL).table(),
        web.get("/ws", sockets.serve),
        *PackRoutes(services.node_packs).table(),  # last: what the door has itself is never a worker's to answer
    )
    editor = EditorRoutes()
    below_api = (*ComfyJobs(store, prompts, callers).table(), *UserRoutes(services.users).table(), *editor.table())
    for prefix in ("", PREFIX):
        for route in tables:
            _add(app, route, f"{prefix}{route.path}")
        for route in (*tables, *below_api):
            _add(app, route, f"{prefix}/api{route.path}")
    editor.add_pages(app)


def _add(app: web.Application, route: web.RouteDef, path: str) -> None:
    """As ComfyUI's, what answers GET answers HEAD."""
    methods = ("GET", "HEAD") if route.method == "GET" and route.path != "/ws" else (route.method,)
    for method in methods:
        app.router.add_route(method, path, native(route.handler), expect_handler=meet_expectation)
