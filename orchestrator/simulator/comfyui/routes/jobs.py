"""/api/jobs, as newer versions have it: queue and history in one list, and cancelling that hits one job only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from orchestrator.simulator.comfyui.queue import Item
from orchestrator.simulator.comfyui.routes.context import Sim
from orchestrator.simulator.comfyui.routes.control import is_canonical_uuid

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
PREVIEWABLE = frozenset({"images", "video", "audio", "3d", "text"})
SUFFIXES_3D = (".obj", ".fbx", ".gltf", ".glb", ".usdz")
SUFFIXES_TEXT = (".txt", ".md", ".json")
TEXT_PREVIEW_LENGTH = 1024

Job = dict[str, Any]


def routes(sim: Sim) -> list[web.RouteDef]:
    jobs = Jobs(sim)
    return [
        web.get("/api/jobs", jobs.list),
        web.get("/api/jobs/{job_id}", jobs.get),
        web.post("/api/jobs/cancel", jobs.cancel_many),
        web.post("/api/jobs/{job_id}/cancel", jobs.cancel),
    ]


class Jobs:
    def __init__(self, sim: Sim) -> None:
        self._queue = sim.queue
        self._interrupt = sim.machine.interrupt

    async def list(self, request: web.Request) -> web.Response:
        query = request.query
        wanted = [status.strip().lower() for status in query.get("status", "").split(",") if status.strip()]
        unknown = [status for status in wanted if status not in STATUSES]
        if unknown:
            return _bad(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}")
        sort_by, order = query.get("sort_by", "created_at").lower(), query.get("sort_order", "desc").lower()
        if sort_by not in ("created_at", "execution_duration"):
            return _bad("sort_by must be 'created_at' or 'execution_duration'")
        if order not in ("asc", "desc"):
            return _bad("sort_order must be 'asc' or 'desc'")
        try:
            limit = int(query["limit"]) if "limit" in query else None
        except ValueError:
            return _bad("limit must be an integer")
        if limit is not None and limit <= 0:
            return _bad("limit must be a positive integer")
        try:
            offset = max(int(query.get("offset", 0)), 0)
        except ValueError:
            return _bad("offset must be an integer")
        jobs = [job for job in self._all() if job["status"] in (wanted or STATUSES)]
        if query.get("workflow_id"):
            jobs = [job for job in jobs if job.get("workflow_id") == query["workflow_id"]]
        jobs.sort(key=_duration if sort_by == "execution_duration" else _created, reverse=order == "desc")
        page = jobs[offset : None if limit is None else offset + limit]
        pagination = {"offset": offset, "limit": limit, "total": len(jobs), "has_more": offset + len(page) < len(jobs)}
        return web.json_response({"jobs": page, "pagination": pagination})

    async def get(self, request: web.Request) -> web.Response:
        job_id = request.match_info["job_id"]
        finished = self._queue.history_of(job_id)
        if finished:
            return web.json_response(_finished_in_full(job_id, finished[job_id]))
        for job in self._unfinished():
            if job["id"] == job_id:
                return web.json_response(job)
        return web.json_response({"error": "Job not found"}, status=404)

    async def cancel(self, request: web.Request) -> web.Response:
        return web.json_response({"cancelled": self._cancel(request.match_info["job_id"])})

    async def cancel_many(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except json.JSONDecodeError:
            return _bad("Request body must be valid JSON")
        ids = body.get("job_ids") if isinstance(body, dict) else None
        if not isinstance(ids, list):
            return _bad("job_ids must be a list")
        invalid = [each if isinstance(each, str) else repr(each) for each in ids if not is_canonical_uuid(each)]
        if invalid:
            body = {"error": "job_ids contains invalid id(s)", "invalid_ids": invalid}
            return web.json_response(body, status=400)
        return web.json_response({"cancelled": any(list(map(self._cancel, ids)))})

    def _cancel(self, job_id: str) -> bool:
        """Whether it was waiting or running; one that left the queue meanwhile is caught running."""
        return self._queue.delete(job_id) or self._queue.if_running(job_id, self._interrupt.set)

    def _all(self) -> list[Job]:
        return self._unfinished() + [_finished(key, entry) for key, entry in self._queue.history().items()]

    def _unfinished(self) -> list[Job]:
        running, pending = self._queue.snapshot()
        return [_waiting(item, "in_progress") for item in running] + [_waiting(item, "pending") for item in pending]


def _waiting(item: Item, status: str) -> Job:
    return _pruned(
        id=item.prompt_id,
        status=status,
        priority=item.number,
        outputs_count=0,
        previewable_outputs_count=0,
        **_metadata(item.extra_data),
    )


def _finished(job_id: str, entry: Mapping[str, Any]) -> Job:
    number, _, _, extra_data, _ = entry["prompt"]
    messages = dict(entry["status"]["messages"])
    end = next((data for name, data in messages.items() if name not in ("execution_start", "execution_cached")), {})
    cancelled = "execution_interrupted" in messages
    failed = "cancelled" if cancelled else "failed"
    items = list(_items(entry["outputs"]))
    return _pruned(
        id=job_id,
        status="completed" if entry["status"]["completed"] else failed,
        priority=number,
        execution_start_time=messages["execution_start"]["timestamp"],
        execution_end_time=end.get("timestamp"),
        execution_error=messages.get("execution_error"),
        outputs_count=sum(isinstance(item, dict) for _, _, item in items),
        previewable_outputs_count=sum(isinstance(item, dict) and _previewable(kind, item) for _, kind, item in items),
        preview_output=_preview(items),
        **_metadata(extra_data),
    )


def _finished_in_full(job_id: str, entry: Mapping[str, Any]) -> Job:
    _, _, prompt, extra_data, _ = entry["prompt"]
    return _finished(job_id, entry) | {
        "outputs": entry["outputs"],
        "execution_status": entry["status"],
        "workflow": {"prompt": prompt, "extra_data": extra_data},
    }


def _items(outputs: Mapping[str, Mapping[str, Any]]):
    """Node id, media type and entry of everything shown."""
    for node_id, shown in outputs.items():
        for kind, entries in shown.items():
            if kind != "animated":
                for entry in entries:
                    yield node_id, kind, entry


def _previewable(kind: str, entry: Mapping[str, Any]) -> bool:
    name = str(entry.get("filename", "")).lower()
    media = str(entry.get("format", "")).startswith(("video/", "audio/"))
    return kind in PREVIEWABLE or media or name.endswith(SUFFIXES_3D + SUFFIXES_TEXT)


def _preview(items: list[tuple[str, str, Any]]) -> Job | None:
    """A saved picture or clip before a temporary one, before a text file, before plain text."""
    ranked: list[tuple[int, Job]] = []
    for node_id, kind, entry in items:
        if not isinstance(entry, dict):
            if kind == "text":
                cut = {"truncated": True} if len(str(entry)) > TEXT_PREVIEW_LENGTH else {}
                text = {"content": str(entry)[:TEXT_PREVIEW_LENGTH], **cut}
                ranked.append((3, {**text, "nodeId": node_id, "mediaType": kind}))
        elif _previewable(kind, entry):
            is_text = kind == "text" or str(entry.get("filename", "")).lower().endswith(SUFFIXES_TEXT)
            rank = 2 if is_text else 0 if entry.get("type") == "output" else 1
            ranked.append((rank, {**entry, "nodeId": node_id, "mediaType": kind}))
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _metadata(extra_data: Mapping[str, Any]) -> Job:
    workflow = extra_data.get("extra_pnginfo", {}).get("workflow", {})
    return {"create_time": extra_data.get("create_time"), "workflow_id": workflow.get("id")}


def _created(job: Job) -> float:
    return job.get("create_time", 0)


def _duration(job: Job) -> float:
    start, end = job.get("execution_start_time", 0), job.get("execution_end_time", 0)
    return end - start if start and end else 0


def _pruned(**values: Any) -> Job:
    return {key: value for key, value in values.items() if value is not None}


def _bad(message: str) -> web.Response:
    return web.json_response({"error": message}, status=400)
