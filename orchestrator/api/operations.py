"""What operators and their tools ask: is it alive, can it take jobs, and how is it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from typing_extensions import TypedDict

from orchestrator import __version__
from orchestrator.api.errors import answer
from orchestrator.api.metrics import exposition
from orchestrator.api.routes import Answer, Route
from orchestrator.api.services import Services
from orchestrator.domain.worker import WorkerState
from orchestrator.errors import Busy

STORE_S = 4.0  # a scrape has ten seconds, and one that fails tells nothing at all
_STORE_UP = "# HELP comfyfleet_store_up 1: the store answers.\n# TYPE comfyfleet_store_up gauge\n"


class HealthView(TypedDict):
    status: str
    version: str


class ReadinessView(TypedDict):
    status: str
    workers: int
    workers_ready: int


class IndexView(TypedDict):
    name: str
    version: str
    docs: str
    openapi: str


class OperationRoutes:
    def __init__(self, services: Services, metrics: CollectorRegistry) -> None:
        self._store = services.store
        self._metrics = metrics

    def table(self) -> Sequence[Route]:
        return (
            Route(
                method="GET", path="/", handler=self.index, summary="Where to begin",
                answers={200: Answer("Where the documentation is.", IndexView)},
            ),
            Route(
                method="GET", path="/healthz", handler=self.healthz, summary="Whether the process is alive",
                answers={200: Answer("It is.", HealthView)},
            ),
            Route(
                method="GET", path="/readyz", handler=self.readyz, summary="Whether jobs can be taken",
                answers={200: Answer("A job that is submitted now is kept and will be run.", ReadinessView)},
                refusals=("store_unavailable",),
            ),
            Route(
                method="GET", path="/metrics", handler=self.metrics, summary="Metrics for Prometheus",
                answers={200: Answer("Prometheus's text format.", media="text/plain")},
            ),
        )  # fmt: skip

    async def index(self, request: web.Request) -> web.StreamResponse:
        return answer({"name": "comfyfleet", "version": __version__, "docs": "/docs", "openapi": "/openapi.json"})

    async def healthz(self, request: web.Request) -> web.StreamResponse:
        return answer({"status": "ok", "version": __version__})

    async def readyz(self, request: web.Request) -> web.StreamResponse:
        """Ready is: the store takes writes. A job taken then is kept, and a leader places it within seconds, as every
        controller stands for the lease. Workers are only reported: without one, jobs wait, and are not lost."""
        await self._store.ping()
        states = [worker.state for worker in await self._store.workers()]
        return answer({"status": "ready", "workers": len(states), "workers_ready": states.count(WorkerState.READY)})

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """The process's own figures are told even when the store is down, or hangs."""
        try:
            async with asyncio.timeout(STORE_S):
                counts, workers, spent = (
                    await self._store.counts(), await self._store.workers(), await self._store.spent()
                )  # fmt: skip
            fleet, up = exposition(counts, workers, spent), 1
        except (Busy, TimeoutError):
            fleet, up = b"", 0
        store = f"{_STORE_UP}comfyfleet_store_up {up}\n"
        return web.Response(
            body=generate_latest(self._metrics) + store.encode() + fleet,
            headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4},
        )
