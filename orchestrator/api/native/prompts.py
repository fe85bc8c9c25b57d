"""/prompt, /queue, /history, /interrupt: what ComfyUI's clients post, and what becomes of it."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from orchestrator.api.errors import answer
from orchestrator.api.native import refusals
from orchestrator.api.native.answers import body_of
from orchestrator.api.native.callers import Caller, Callers
from orchestrator.api.native.history import entry, is_kept, item
from orchestrator.controller.postings import Posting, Postings, Refused
from orchestrator.domain.job import Job, JobStatus, Origin
from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.store.port import JobQuery, Store
from orchestrator.store.port.clients import EVERYONE, Posted

LISTED_MAX = 1000  # jobs in one answer
NUMBER_MAX = 2**53
_PAGE = 200
_RUNNING = (JobStatus.RUNNING, JobStatus.CANCELING)
_SENSITIVE = ("auth_token_comfy_org", "api_key_comfy_org")  # as ComfyUI's own queue and history leave them out


class PromptRoutes:
    def __init__(self, store: Store, postings: Postings, callers: Callers) -> None:
        self._store = store
        self._postings = postings
        self._callers = callers
        self._last_number = 0

    def table(self) -> Sequence[web.RouteDef]:
        return (
            web.post("/prompt", self.submit),
            web.get("/prompt", self.remaining),
            web.get("/queue", self.queue),
            web.post("/queue", self.change_queue),
            web.get("/history", self.history),
            web.get("/history/{id}", self.history_of),
            web.post("/history", self.change_history),
            web.post("/interrupt", self.interrupt),
        )

    async def submit(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        caller = self._callers.of(request, body)
        if "prompt" not in body:
            return answer(refusals.told("no_prompt", "No prompt provided", "No prompt provided"), 400)
        if (incomplete := refusals.incomplete(body["prompt"])) is not None:
            return answer(incomplete, 400)
        job_id = given_id(body.get("prompt_id"))
        if job_id is None:
            details = "prompt_id must be a UUID in canonical lowercase hyphenated form; omit it to have one made"
            return answer(refusals.told("invalid_prompt_id", "prompt_id must be a valid UUID", details), 400)
        number = self._number(body)
        client_id = None if not body.get("client_id") else caller.client_id
        posting = Posting(
            job_id,
            Origin(caller.peer, number, client_id),
            body["prompt"],
            _targets(body),
            _extra_data(request, body),
            _keys(body),
        )
        try:
            dropped = await self._postings.submit(posting)
        except Refused as refused:
            return answer(refusals.refusal(refused), 400)
        except Conflict:
            message = "there is a prompt with this prompt_id already"
            return answer(refusals.told("duplicate_prompt_id", message, "omit it, or make a new one"), 400)
        return answer({"prompt_id": job_id, "number": number, "node_errors": refusals.node_errors(dropped)})

    async def remaining(self, request: web.Request) -> web.StreamResponse:
        remaining = await self._store.active(self._callers.of(request).owner)
        return answer({"exec_info": {"queue_remaining": remaining}})

    async def queue(self, request: web.Request) -> web.StreamResponse:
        jobs = await self.active(self._callers.of(request))
        shown = await self._shown(jobs)
        return answer(
            {
                "queue_running": [item(job, posted) for job, posted in shown if _executes(job)],
                "queue_pending": [item(job, posted) for job, posted in shown if job.status is JobStatus.QUEUED],
            }
        )

    async def change_queue(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        caller = self._callers.of(request, body)
        if body.get("clear"):
            await self._clear_queue(caller)
        for job in await self.touchable(caller, body.get("delete")):
            if job.status is JobStatus.QUEUED:
                await self._store.cancel(job.spec.id)
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.StreamResponse:
        """Of a caller's jobs the first that executes, as it knows of one alone; or the one that it names. To ask again
        while that one is about to stop changes nothing."""
        body = await body_of(request) if request.can_read_body else {}
        caller = self._callers.of(request, body)
        if named := body.get("prompt_id"):
            running = await self.touchable(caller, [named])
        else:
            sure = await self._is_one(caller)
            running = [job for job in await self._executing(caller) if sure or _is_nobodys(job)]
        first = next(filter(_executes, running), None)
        if first is not None:
            await self._store.cancel(first.spec.id)
        return web.Response()

    async def history(self, request: web.Request) -> web.StreamResponse:
        wanted, offset = _integer(request, "max_items"), _integer(request, "offset")
        from_the_end = offset is None or offset < 0
        jobs = await self.finished(self._callers.of(request), wanted if from_the_end else None)
        if not from_the_end:
            jobs = jobs[offset:][:wanted]
        return answer({job.spec.id: entry(job, posted) for job, posted in await self._shown(jobs)})

    async def history_of(self, request: web.Request) -> web.StreamResponse:
        found = await self.lookup(self._callers.of(request), request.match_info["id"])
        if found is None or not is_kept(found[0]):
            return answer({})
        return answer({found[0].spec.id: entry(*found)})

    async def change_history(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        caller = self._callers.of(request, body)
        for job in await self.touchable(caller, body.get("delete")):
            await self._forget(job)
        if body.get("clear"):
            async for jobs in self._pages(caller):
                for job in jobs:
                    if caller.is_named or _is_nobodys(job):
                        await self._forget(job)
        return web.Response()

    # --- whose jobs ---

    async def active(self, caller: Caller) -> list[Job]:
        """Those of the caller that have not ended, in ComfyUI's order: all that execute, and the last that wait."""
        page = await self._store.jobs(JobQuery(owner=caller.owner, active=True, limit=LISTED_MAX))
        executing = await self._executing(caller)
        return _in_order({job.spec.id: job for job in (*page.jobs, *executing)}.values())

    async def finished(self, caller: Caller, wanted: int | None = None) -> list[Job]:
        """The last so many of the caller's history, oldest first."""
        wanted = LISTED_MAX if wanted is None else max(0, min(wanted, LISTED_MAX))
        found: list[Job] = []
        async with aclosing(self._pages(caller)) as pages:
            async for jobs in pages:
                found += filter(is_kept, jobs)
                if len(found) >= wanted:
                    break
        return found[:wanted][::-1]

    async def lookup(self, caller: Caller, job_id: str) -> tuple[Job, Posted] | None:
        """A job by its id, which nobody can guess: of a caller that is named, it must be its own."""
        owner = caller.owner if caller.is_named else EVERYONE
        if not _is_id(job_id) or not await self._store.owns(owner, job_id):
            return None
        try:
            job = await self._store.job(job_id)
        except NotFound:
            return None
        (posted,) = await self._store.posted([job_id])
        return (job, posted) if posted else None

    async def touchable(self, caller: Caller, job_ids: object) -> list[Job]:
        """Those among the named that the caller may cancel or forget."""
        ids = [job_id for job_id in job_ids if isinstance(job_id, str)] if isinstance(job_ids, list) else []
        found = [await self.lookup(caller, job_id) for job_id in ids[:LISTED_MAX]]
        return [each[0] for each in found if each is not None]

    async def _executing(self, caller: Caller) -> list[Job]:
        """In ComfyUI's order: few, however many wait."""
        pages = [
            await self._store.jobs(JobQuery(status=status, owner=caller.owner, limit=LISTED_MAX)) for status in _RUNNING
        ]
        return _in_order(job for page in pages for job in page.jobs if _executes(job))

    async def _clear_queue(self, caller: Caller) -> None:
        sure = await self._is_one(caller)
        async for jobs in self._pages(caller, active=True):
            for job in jobs:
                if job.status is JobStatus.QUEUED and (sure or _is_nobodys(job)):
                    await self._store.cancel(job.spec.id)

    async def _forget(self, job: Job) -> None:
        if job.terminal and job.spec.origin:
            await self._store.disown(job.spec.id, job.spec.origin)

    async def _pages(self, caller: Caller, *, active: bool = False) -> AsyncGenerator[Sequence[Job], None]:
        """All of the caller's, newest first."""
        cursor = None
        while True:
            page = await self._store.jobs(JobQuery(owner=caller.owner, active=active, limit=_PAGE, cursor=cursor))
            yield page.jobs
            if (cursor := page.cursor) is None:
                return

    async def _is_one(self, caller: Caller) -> bool:
        """Whether there is no doubt whose jobs these are: the caller is named, or all that came from its address and
        has not ended is of one client."""
        if caller.is_named:
            return True
        clients: set[str | None] = set()
        async for jobs in self._pages(caller, active=True):
            clients |= {job.spec.origin.client_id for job in jobs if job.spec.origin}
        return len(clients) <= 1

    async def _shown(self, jobs: Sequence[Job]) -> list[tuple[Job, Posted]]:
        found = await self._store.posted([job.spec.id for job in jobs])
        return [(job, posted) for job, posted in zip(jobs, found, strict=True) if posted is not None]

    def _number(self, body: Mapping[str, Any]) -> float:
        """The time in milliseconds, so that several controllers count alike; the negative of it goes to the front."""
        if "number" in body:
            return _given_number(body["number"])
        self._last_number = max(self._last_number + 1, int(time.time() * 1000))
        return -self._last_number if body.get("front") else self._last_number


def _given_number(given: Any) -> float:
    """Whole numbers stay exact up to NUMBER_MAX, which is far from now in milliseconds."""
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= NUMBER_MAX:
        raise InvalidRequest("invalid_request", f"number must be a number between -{NUMBER_MAX} and {NUMBER_MAX}")
    return number


def given_id(given: object) -> str | None:
    """The id of a prompt, made if none is given; None for what can be none."""
    if given is None:
        return str(uuid.uuid4())
    return given if isinstance(given, str) and _is_id(given) else None


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _in_order(jobs: Iterable[Job]) -> list[Job]:
    """As ComfyUI would execute them."""
    return sorted(jobs, key=lambda job: (job.spec.origin.number if job.spec.origin else 0, job.spec.id))


def _executes(job: Job) -> bool:
    """What was taken back while it waited may still be canceling: its worker has it, and does not execute it."""
    return job.status in _RUNNING and job.started_at is not None


def _is_nobodys(job: Job) -> bool:
    return job.spec.origin is not None and job.spec.origin.client_id is None


def _targets(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    targets = body.get("partial_execution_targets")
    return tuple(map(str, targets)) if isinstance(targets, list) else None


def _extra_data(request: web.Request, body: Mapping[str, Any]) -> dict[str, Any]:
    """As ComfyUI keeps it: without secrets, with the client and the time."""
    given = body.get("extra_data")
    extra = {key: value for key, value in given.items() if key not in _SENSITIVE} if isinstance(given, dict) else {}
    if body.get("client_id"):
        extra["client_id"] = body["client_id"]
    if (source := request.headers.get("Comfy-Usage-Source")) and source.isprintable():
        extra.setdefault("comfy_usage_source", source)
    return {**extra, "create_time": int(time.time() * 1000)}


def _keys(body: Mapping[str, Any]) -> dict[str, str]:
    """The secrets in it."""
    given = body.get("extra_data")
    return {key: given[key] for key in _SENSITIVE if isinstance(given.get(key), str)} if isinstance(given, dict) else {}


def _integer(request: web.Request, name: str) -> int | None:
    try:
        return int(request.query[name]) if name in request.query else None
    except ValueError:
        raise InvalidRequest("invalid_request", f"{name} must be an integer") from None
