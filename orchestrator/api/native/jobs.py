"""/api/jobs, as newer ComfyUIs have it: queue and history in one list, and a cancel that hits one job only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web

from orchestrator.api.errors import answer
from orchestrator.api.native.answers import body_of
from orchestrator.api.native.callers import Callers
from orchestrator.api.native.history import entry, is_kept, item
from orchestrator.api.native.prompts import NUMBER_MAX, PromptRoutes, given_id
from orchestrator.domain.job import Job, JobStatus
from orchestrator.store.port import Store
from orchestrator.store.port.clients import Posted

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_SORTS = ("created_at", "execution_duration")
_PREVIEWABLE = frozenset({"images", "video", "audio", "3d", "text"})
_SUFFIXES_3D = (".obj", ".fbx", ".gltf", ".glb", ".usdz")
_SUFFIXES_TEXT = (".txt", ".md", ".json")
_TEXT_LENGTH = 1024

Shown = dict[str, Any]


class ComfyJobs:
    def __init__(self, store: Store, prompts: PromptRoutes, callers: Callers) -> None:
        self._store = store
        self._prompts = prompts
        self._callers = callers

    def table(self) -> Sequence[web.RouteDef]:
        return (
            web.get("/jobs", self.list),
            web.get("/jobs/{id}", self.show),
            web.post("/jobs/cancel", self.cancel_many),
            web.post("/jobs/{id}/cancel", self.cancel),
        )

    async def list(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        wanted = [status.strip().lower() for status in query.get("status", "").split(",") if status.strip()]
        sort_by, direction = query.get("sort_by", _SORTS[0]).lower(), query.get("sort_order", "desc").lower()
        if unknown := [status for status in wanted if status not in STATUSES]:
            return _bad(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}")
        if sort_by not in _SORTS:
            return _bad("sort_by must be 'created_at' or 'execution_duration'")
        if direction not in ("asc", "desc"):
            return _bad("sort_order must be 'asc' or 'desc'")
        try:
            limit = min(int(query["limit"]), NUMBER_MAX) if "limit" in query else None
            offset = min(max(int(query.get("offset", 0)), 0), NUMBER_MAX)
        except ValueError:
            return _bad("limit and offset must be integers")
        if limit is not None and limit <= 0:
            return _bad("limit must be a positive integer")
        jobs = [shown for shown in await self._all(request) if not wanted or shown["status"] in wanted]
        if workflow := query.get("workflow_id"):
            jobs = [shown for shown in jobs if shown.get("workflow_id") == workflow]
        jobs.sort(key=_created if sort_by == _SORTS[0] else _duration, reverse=direction == "desc")
        page = jobs[offset : None if limit is None else offset + limit]
        more = offset + len(page) < len(jobs)
        pagination = {"offset": offset, "limit": limit, "total": len(jobs), "has_more": more}
        return answer({"jobs": page, "pagination": pagination})

    async def show(self, request: web.Request) -> web.StreamResponse:
        found = await self._prompts.lookup(self._callers.of(request), request.match_info["id"])
        shown = _job(*found) if found else None
        if found is None or shown is None:
            return answer({"error": "Job not found"}, 404)
        if not found[0].terminal:
            return answer(shown)
        kept = entry(*found)
        _, _, prompt, extra_data, _ = kept["prompt"]
        in_full = {"outputs": kept["outputs"], "execution_status": kept["status"]}
        return answer({**shown, **in_full, "workflow": {"prompt": prompt, "extra_data": extra_data}})

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        return answer({"cancelled": await self._cancel(request, [request.match_info["id"]])})

    async def cancel_many(self, request: web.Request) -> web.StreamResponse:
        ids = (await body_of(request)).get("job_ids")
        if not isinstance(ids, list):
            return _bad("job_ids must be a list")
        if invalid := [each if isinstance(each, str) else repr(each) for each in ids if not each or not given_id(each)]:
            return answer({"error": "job_ids contains invalid id(s)", "invalid_ids": invalid}, 400)
        return answer({"cancelled": await self._cancel(request, ids)})

    async def _cancel(self, request: web.Request, ids: Sequence[str]) -> bool:
        """Whether one of them was waiting or executing."""
        live = [job for job in await self._prompts.touchable(self._callers.of(request), ids) if not job.terminal]
        for job in live:
            await self._store.cancel(job.spec.id)
        return bool(live)

    async def _all(self, request: web.Request) -> list[Shown]:
        caller = self._callers.of(request)
        jobs = [*await self._prompts.active(caller), *await self._prompts.finished(caller)]
        found = await self._store.posted([job.spec.id for job in jobs])
        known = [(job, posted) for job, posted in zip(jobs, found, strict=True) if posted is not None]
        return [shown for job, posted in known if (shown := _job(job, posted)) is not None]


def _job(job: Job, posted: Posted) -> Shown | None:
    """None for one that ComfyUI would not know any more."""
    if not job.terminal:
        status = "pending" if job.status is JobStatus.QUEUED else "in_progress"
        return _pruned(**_head(job, posted, status), outputs_count=0, previewable_outputs_count=0)
    if not is_kept(job):
        return None
    kept = entry(job, posted)
    messages = dict(kept["status"]["messages"])
    start, end = messages.get("execution_start", {}), kept["status"]["messages"][-1][1]
    cancelled = "cancelled" if "execution_interrupted" in messages else "failed"
    items = list(_items(kept["outputs"]))
    return _pruned(
        **_head(job, posted, "completed" if kept["status"]["completed"] else cancelled),
        execution_start_time=start.get("timestamp"),
        execution_end_time=end.get("timestamp"),
        execution_error=messages.get("execution_error"),
        outputs_count=sum(isinstance(each, dict) for _, _, each in items),
        previewable_outputs_count=sum(isinstance(each, dict) and _previewable(kind, each) for _, kind, each in items),
        preview_output=_preview(items),
    )


def _head(job: Job, posted: Posted, status: str) -> Shown:
    told = posted.extra_data.get("extra_pnginfo")  # by its client, and whatever that likes
    workflow = told.get("workflow") if isinstance(told, dict) else None
    return {
        "id": job.spec.id,
        "status": status,
        "priority": item(job, posted)[0],
        "create_time": posted.extra_data.get("create_time"),
        "workflow_id": workflow.get("id") if isinstance(workflow, dict) else None,
    }


def _items(outputs: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Node, kind and entry of all that is shown."""
    for node_id, shown in outputs.items():
        for kind, entries in shown.items() if isinstance(shown, dict) else ():
            if kind != "animated" and isinstance(entries, list):
                for each in entries:
                    yield node_id, kind, each


def _previewable(kind: str, shown: Shown) -> bool:
    name = str(shown.get("filename", "")).lower()
    media = str(shown.get("format", "")).startswith(("video/", "audio/"))
    return kind in _PREVIEWABLE or media or name.endswith(_SUFFIXES_3D + _SUFFIXES_TEXT)


def _preview(items: Sequence[tuple[str, str, Any]]) -> Shown | None:
    """A saved picture or clip before a temporary one, before a text file, before plain text."""
    ranked: list[tuple[int, Shown]] = []
    for node_id, kind, each in items:
        about = {"nodeId": node_id, "mediaType": kind}
        if not isinstance(each, dict):
            if kind == "text":
                cut = {"truncated": True} if len(str(each)) > _TEXT_LENGTH else {}
                ranked.append((3, {"content": str(each)[:_TEXT_LENGTH], **cut, **about}))
        elif _previewable(kind, each):
            is_text = kind == "text" or str(each.get("filename", "")).lower().endswith(_SUFFIXES_TEXT)
            ranked.append((2 if is_text else 0 if each.get("type") == "output" else 1, {**each, **about}))
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _created(shown: Shown) -> float:
    return shown.get("create_time", 0)


def _duration(shown: Shown) -> float:
    start, end = shown.get("execution_start_time"), shown.get("execution_end_time")
    return end - start if start and end else 0


def _pruned(**values: Any) -> Shown:
    return {key: value for key, value in values.items() if value is not None}


def _bad(message: str) -> web.Response:
    return answer({"error": message}, 400)
