"""/v1/workers and /v1/residency: what the fleet runs on, and what an operator tells it."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from orchestrator.api.errors import answer
from orchestrator.api.fleet.views.residency import ResidencyView, residency_view
from orchestrator.api.fleet.views.workers import (
    WorkerStoryView,
    WorkersView,
    WorkerView,
    worker_story_view,
    worker_view,
)
from orchestrator.api.routes import Answer, Route
from orchestrator.api.services import Services
from orchestrator.domain.worker import WorkerEvent, WorkerKind
from orchestrator.errors import Conflict
from orchestrator.store.port import Mail, MailKind


class WorkerRoutes:
    def __init__(self, services: Services) -> None:
        self._store = services.store

    def table(self) -> Sequence[Route]:
        worker = {200: Answer("The worker.", WorkerView)}
        unknown = ("worker_not_found",)
        return (
            Route(
                method="GET", path="/v1/workers", handler=self.list_workers, summary="List workers",
                answers={200: Answer("Every worker that was heard from within a day.", WorkersView)},
            ),
            Route(
                method="GET", path="/v1/workers/{id}", handler=self.show, summary="A worker and what it went through",
                answers={200: Answer("The worker.", WorkerStoryView)}, refusals=unknown,
            ),
            Route(
                method="POST", path="/v1/workers/{id}/drain", handler=self.drain, answers=worker, refusals=unknown,
                summary="Let a worker finish what it has, and give it nothing new",
            ),
            Route(
                method="POST", path="/v1/workers/{id}/resume", handler=self.resume, answers=worker, refusals=unknown,
                summary="Take back a drain, or a quarantine",
            ),
            Route(
                method="POST", path="/v1/workers/{id}/recycle", handler=self.recycle, answers=worker,
                refusals=(*unknown, "worker_attached", "worker_state"),
                summary="Give a supervised worker a fresh ComfyUI, after what it executes",
            ),
            Route(
                method="POST", path="/v1/workers/{id}/free", handler=self.free, refusals=unknown,
                summary="Have a worker unload its models",
                answers={202: Answer("It was asked to; it does so between two runs.", WorkerView)},
            ),
            Route(
                method="GET", path="/v1/residency", handler=self.residency, summary="Which worker holds which models",
                answers={200: Answer("By worker and by model: in VRAM, in RAM, on disk.", ResidencyView)},
            ),
        )  # fmt: skip

    async def list_workers(self, request: web.Request) -> web.StreamResponse:
        workers = await self._store.workers()
        return answer({"workers": [worker_view(worker) for worker in workers]})

    async def drain(self, request: web.Request) -> web.StreamResponse:
        return await self._move(request, WorkerEvent.DRAIN)

    async def resume(self, request: web.Request) -> web.StreamResponse:
        return await self._move(request, WorkerEvent.RESUME)

    async def show(self, request: web.Request) -> web.StreamResponse:
        worker_id = request.match_info["id"]
        worker = await self._store.worker(worker_id)
        return answer(worker_story_view(worker, await self._store.worker_changes(worker_id)))

    async def recycle(self, request: web.Request) -> web.StreamResponse:
        worker = await self._store.worker(request.match_info["id"])
        if worker.info.kind is WorkerKind.ATTACHED:
            raise Conflict(
                "worker_attached",
                f"worker {worker.info.id} is attached: comfyfleet did not start its ComfyUI and cannot restart it; "
                f"drain it, restart {worker.info.url} yourself, resume it",
            )
        return await self._move(request, WorkerEvent.RECYCLE)

    async def free(self, request: web.Request) -> web.StreamResponse:
        worker = await self._store.worker(request.match_info["id"])
        await self._store.post(Mail(MailKind.FREE, worker.info.id))
        return answer(worker_view(worker), 202)

    async def residency(self, request: web.Request) -> web.StreamResponse:
        workers = await self._store.workers()
        digests = {worker.models for worker in workers if worker.models}
        return answer(residency_view(workers, {digest: await self._store.models(digest) for digest in digests}))

    async def _move(self, request: web.Request, event: WorkerEvent) -> web.StreamResponse:
        worker = await self._store.worker(request.match_info["id"])
        return answer(worker_view(await self._store.move_worker(worker.info.id, event)))
