"""What an agent that runs alone answers: whether it is alive, and how its workers do. It takes no orders."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from orchestrator import __version__
from orchestrator.api.errors import answer, refuse_in_json, stamp


def create_agent_app(metrics: CollectorRegistry) -> web.Application:
    """/healthz and /metrics; `metrics` is what the agent counts into."""

    async def healthz(request: web.Request) -> web.StreamResponse:
        return answer({"status": "ok", "version": __version__})

    async def exposition(request: web.Request) -> web.StreamResponse:
        return web.Response(body=generate_latest(metrics), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app = web.Application(middlewares=[refuse_in_json])
    app.on_response_prepare.append(stamp)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", exposition)
    return app
