"""/v1/reviews: jobs whose candidates a person has to decide on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from orchestrator.api.errors import answer
from orchestrator.api.fleet.views.jobs import JobView, job_view
from orchestrator.api.fleet.views.reviews import ReviewsView, reviews_view
from orchestrator.api.routes import Answer, Route, id_of
from orchestrator.api.services import Services
from orchestrator.controller.judge import conclude
from orchestrator.controller.requests import Decision, Rejection
from orchestrator.domain.job import Job
from orchestrator.domain.quality import CandidateState, Gate
from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.quality.candidates import candidates
from orchestrator.quality.gate import Accept, Fail, Verdict


class ReviewRoutes:
    def __init__(self, services: Services) -> None:
        self._store = services.store

    def table(self) -> Sequence[Route]:
        decided = {200: Answer("The job, as it is now.", JobView)}
        refusals = ("job_not_found", "no_review", "review_over", "invalid_request")
        return (
            Route(
                method="GET", path="/v1/reviews", handler=self.pending, summary="Jobs that wait for a person",
                answers={200: Answer("With what their candidates scored, and where to see them.", ReviewsView)},
            ),
            Route(
                method="POST", path="/v1/reviews/{id}/approve", handler=self.approve, body=Decision, answers=decided,
                refusals=refusals, summary="Deliver candidates of a job that waits for a person",
            ),
            Route(
                method="POST", path="/v1/reviews/{id}/reject", handler=self.reject, body=Rejection, answers=decided,
                refusals=refusals, summary="Fail a job that waits for a person",
            ),
        )  # fmt: skip

    async def pending(self, request: web.Request) -> web.StreamResponse:
        pending = await self._store.reviews()
        jobs = await asyncio.gather(*(self._store.job(review.job_id) for review in pending), return_exceptions=True)
        found = [(review, job) for review, job in zip(pending, jobs, strict=True) if isinstance(job, Job)]
        return answer(reviews_view(found))

    async def approve(self, request: web.Request, body: Decision) -> web.StreamResponse:
        job, gate = await self._waiting(request)
        slots = body.slots if body.slots is not None else (job.judgement.chosen if job.judgement else ())
        scored = {it.slot for it in candidates(job.runs) if it.state is CandidateState.SCORED}
        if unknown := [slot for slot in slots if slot not in scored]:
            have = ", ".join(map(str, sorted(scored)))
            raise InvalidRequest(
                "invalid_request", f"slots names {unknown[0]}, which has no picture; there are {have}", pointer="/slots"
            )
        return await self._decide(job, gate, Accept(tuple(dict.fromkeys(slots)), _told("approved", body)))

    async def reject(self, request: web.Request, body: Rejection) -> web.StreamResponse:
        job, gate = await self._waiting(request)
        return await self._decide(job, gate, Fail(_told("rejected", body)))

    async def _waiting(self, request: web.Request) -> tuple[Job, Gate]:
        job = await self._store.job(id_of(request, "job"))
        waits = any(review.job_id == job.spec.id for review in await self._store.reviews())
        if job.spec.gate is None or not waits:
            raise NotFound("no_review", f"job {job.spec.id} is {job.status} and waits for nobody's review")
        return job, job.spec.gate

    async def _decide(self, job: Job, gate: Gate, verdict: Verdict) -> web.StreamResponse:
        if not await conclude(self._store, job, gate, verdict):
            raise Conflict("review_over", f"job {job.spec.id} was decided on meanwhile: look at it again")
        return answer(job_view(await self._store.job(job.spec.id)))


def _told(decision: str, body: Rejection) -> str:
    return f"{decision}: {body.comment}" if body.comment.strip() else f"{decision} by a person"
