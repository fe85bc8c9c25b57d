"""Jobs, outputs and assets as the Comfy API v2 shows them. What the contract calls nullable is there, and null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired

from aiohttp import web
from typing_extensions import TypedDict

from orchestrator.api.comfy_v2.contract import ROOT
from orchestrator.api.fleet.views.times import iso, iso_or_null
from orchestrator.domain.asset import Asset, MediaType, Output
from orchestrator.domain.job import Job, JobError, JobStatus, Progress
from orchestrator.errors import InvalidRequest
from orchestrator.settings import RetentionSettings


class ComfyHealthView(TypedDict):
    status: str


class ComfyLinksView(TypedDict):
    self: str
    events: str
    cancel: str


class ComfyProgressView(TypedDict):
    value: float
    nodes_done: int
    nodes_total: int
    current_node: str | None
    current_node_class: str | None
    step: int | None
    steps: int | None
    message: str | None


class ComfyOutputView(TypedDict):
    id: str
    job_id: str
    node_id: str
    name: str
    type: MediaType
    content_type: str
    size_bytes: int
    hash: str
    url: str
    url_expires_at: str


class ComfyErrorView(TypedDict):
    code: str
    message: str
    node_id: str | None
    class_type: str | None
    traceback: str | None


class ComfyJobView(TypedDict):
    id: str
    status: JobStatus
    created_at: str
    started_at: str | None
    completed_at: str | None
    expires_at: str
    queue_position: int | None
    progress: ComfyProgressView | None
    outputs: list[ComfyOutputView]
    error: ComfyErrorView | None
    metrics: dict[str, int | None]
    metadata: dict[str, str]
    urls: ComfyLinksView


class ComfyJobSummary(TypedDict):
    id: str
    status: JobStatus
    create_time: str
    update_time: str
    deployment_id: str | None
    metadata: dict[str, str]


class ComfyJobsView(TypedDict):
    jobs: list[ComfyJobSummary]
    next_cursor: str | None


class ComfyWorkflowView(TypedDict):
    workflow: dict[str, Any]
    format: str


class ComfyAssetView(TypedDict):
    id: str
    hash: str
    size_bytes: int
    content_type: str
    file_path: str
    created_at: str
    url: str
    url_expires_at: str
    expires_at: str
    created_new: NotRequired[bool]
    job_id: NotRequired[str]


@dataclass(frozen=True, slots=True)
class Site:
    """Where the caller finds this fleet, and how long that keeps things."""

    base: str
    retention: RetentionSettings

    @classmethod
    def of(cls, request: web.Request, retention: RetentionSettings) -> Site:
        """`url` is absolute in the contract: what the caller, or the proxy before us, called us by. Raises
        InvalidRequest where that is no name."""
        if not request.host.isascii():
            raise InvalidRequest("invalid_request", "the header Host names no host: it must be ASCII")
        forwarded = request.headers.get("X-Forwarded-Proto", "")
        scheme = forwarded if forwarded in ("http", "https") else request.scheme
        return cls(f"{scheme}://{request.host}", retention)

    def content(self, asset_id: str) -> str:
        return f"{self.base}{ROOT}/assets/{asset_id}/content"

    def job_expires_at(self, job: Job) -> float:
        return (job.completed_at or job.spec.created_at) + self.retention.jobs_s


def output_id(job_id: str, n: int) -> str:
    """Outputs are assets too: this names the one with that index among its job's."""
    return f"{job_id}.{n}"


def named_output(asset_id: str) -> tuple[str, int] | None:
    """What `output_id` was given; None for the id of an uploaded asset."""
    job_id, dot, n = asset_id.rpartition(".")
    return (job_id, int(n)) if dot and n.isdecimal() and len(n) < 7 else None


def job_view(job: Job, site: Site) -> ComfyJobView:
    spec = job.spec
    place = f"{ROOT}/jobs/{spec.id}"
    return {
        "id": spec.id,
        "status": job.status,
        "created_at": iso(spec.created_at),
        "started_at": iso_or_null(job.started_at),
        "completed_at": iso_or_null(job.completed_at),
        "expires_at": iso(site.job_expires_at(job)),
        "queue_position": job.queue_position if job.status is JobStatus.QUEUED else None,
        "progress": progress_view(job.progress) if job.progress else None,
        "outputs": [output_view(job, n, output, site) for n, output in enumerate(job.outputs)],
        "error": _error_view(job.error) if job.error else None,
        "metrics": _metrics(job),
        "metadata": dict(spec.metadata),
        "urls": {"self": place, "events": f"{place}/events", "cancel": f"{place}/cancel"},
    }


def summary_view(job: Job) -> ComfyJobSummary:
    changed_at = job.completed_at or job.started_at or job.spec.created_at
    return {
        "id": job.spec.id,
        "status": job.status,
        "create_time": iso(job.spec.created_at),
        "update_time": iso(changed_at),
        "deployment_id": None,
        "metadata": dict(job.spec.metadata),
    }


def progress_view(progress: Progress) -> ComfyProgressView:
    stepping = progress.step is not None and progress.steps is not None
    return {
        "value": progress.value,
        "nodes_done": progress.nodes_done,
        "nodes_total": progress.nodes_total,
        "current_node": progress.node,
        "current_node_class": progress.node_class,
        "step": progress.step,
        "steps": progress.steps,
        "message": f"{progress.node_class} {progress.step}/{progress.steps}" if stepping else progress.node_class,
    }


def output_view(job: Job, n: int, output: Output, site: Site) -> ComfyOutputView:
    named = output_id(job.spec.id, n)
    return {
        "id": named,
        "job_id": job.spec.id,
        "node_id": output.node_id,
        "name": output.name,
        "type": output.type,
        "content_type": output.content_type,
        "size_bytes": output.size_bytes,
        "hash": output.hash,
        "url": site.content(named),
        "url_expires_at": iso(site.job_expires_at(job)),
    }


def output_asset_view(job: Job, n: int, output: Output, site: Site) -> ComfyAssetView:
    """An output as the asset that it is."""
    shown = output_view(job, n, output, site)
    return {
        "id": shown["id"],
        "hash": output.hash,
        "size_bytes": output.size_bytes,
        "content_type": output.content_type,
        "file_path": output.name,
        "created_at": iso(job.completed_at or job.started_at or job.spec.created_at),
        "url": shown["url"],
        "url_expires_at": shown["url_expires_at"],
        "expires_at": shown["url_expires_at"],
        "job_id": job.spec.id,
    }


def asset_view(
    asset: Asset, site: Site, now: float, *, file_path: str | None = None, created_new: bool | None = None
) -> ComfyAssetView:
    """To look at an asset is to use it: its retention begins anew. `file_path`: what this caller calls it."""
    expires_at = iso(now + site.retention.assets_s)
    view: ComfyAssetView = {
        "id": asset.id,
        "hash": asset.hash,
        "size_bytes": asset.size_bytes,
        "content_type": asset.content_type,
        "file_path": file_path or asset.name,
        "created_at": iso(asset.created_at),
        "url": site.content(asset.id),
        "url_expires_at": expires_at,
        "expires_at": expires_at,
    }
    if created_new is not None:
        view["created_new"] = created_new
    return view


def _error_view(error: JobError) -> ComfyErrorView:
    return {
        "code": error.code,
        "message": error.message,
        "node_id": error.node_id,
        "class_type": error.class_type,
        "traceback": error.traceback,
    }


def _metrics(job: Job) -> dict[str, int | None]:
    """Milliseconds; null while they are not known."""
    last = job.runs[-1].timings
    return {
        "queue_ms": _milliseconds(job.spec.created_at, job.started_at),
        "execution_ms": _milliseconds(last.started_at, last.executed_at),
        "total_ms": _milliseconds(job.spec.created_at, job.completed_at),
    }


def _milliseconds(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else max(0, round((end - start) * 1000))


def told_output(data: Mapping[str, Any]) -> tuple[int, Output]:
    """The index and the output in its event, which does not say where it lies in storage."""
    fields = {**data, "type": MediaType(data["type"]), "path": ""}
    return fields.pop("index"), Output(**fields)


def told_progress(data: Mapping[str, Any]) -> ComfyProgressView:
    return progress_view(Progress(**data))
