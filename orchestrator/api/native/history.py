"""Jobs as ComfyUI's queue and history show them. Pure.

What a run's ComfyUI said names the run, which nobody here knows, and files by where they lie there, which is not unique
among workers: clients are told the job's id instead, and of every file that it lies below fleet/JOB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from orchestrator.controller.inputs import PREFIX
from orchestrator.domain.job import Job, JobStatus
from orchestrator.store.port.clients import Posted

Document = dict[str, Any]

_ENDINGS = ("execution_success", "execution_error", "execution_interrupted")


def item(job: Job, posted: Posted) -> list[Any]:
    """What /queue lists."""
    number = job.spec.origin.number if job.spec.origin else 0
    place = int(number) if float(number).is_integer() else number
    return [place, job.spec.id, posted.prompt, posted.extra_data, list(posted.outputs)]


def is_kept(job: Job) -> bool:
    """Whether ComfyUI would have it in its history: what is deleted while it waits is not."""
    return job.terminal and not (job.status is JobStatus.CANCELED and job.started_at is None)


def entry(job: Job, posted: Posted) -> Document:
    """What /history has of a job that has ended."""
    said = _renamed(posted.history, job) if posted.history else {}
    outputs = said.get("outputs") or (_outputs(job) if job.status is JobStatus.SUCCEEDED else {})
    return {
        "prompt": item(job, posted),
        "outputs": {node: placed(shown, job.spec.id) for node, shown in outputs.items()},
        "status": _status(job, said.get("status")),
        "meta": said.get("meta") or {},
    }


def placed(shown: Any, job_id: str) -> Any:
    """What a node shows, with its files below fleet/JOB."""
    if not isinstance(shown, dict):
        return shown
    return {
        kind: [_placed(each, job_id) for each in items] if isinstance(items, list) else items
        for kind, items in shown.items()
    }


def ending(history: Mapping[str, Any]) -> tuple[str, Document]:
    """The message that ended it, as (type, data)."""
    return next((name, data) for name, data in reversed(history["status"]["messages"]) if name in _ENDINGS)


def _placed(shown: Any, job_id: str) -> Any:
    if not isinstance(shown, dict) or "filename" not in shown or shown.get("type") not in ("output", "temp"):
        return shown
    home, subfolder = f"{PREFIX}/{job_id}", str(shown.get("subfolder") or "")
    if subfolder == home or subfolder.startswith(f"{home}/"):
        return shown
    return {**shown, "subfolder": f"{home}/{subfolder}".rstrip("/")}


def _renamed(history: Mapping[str, Any], job: Job) -> Document:
    return orjson.loads(orjson.dumps(history).replace(job.runs[-1].id.encode(), job.spec.id.encode()))


def _outputs(job: Job) -> Document:
    """For a job whose ComfyUI is silent about it: from what was delivered."""
    shown: dict[str, Any] = {}
    for output in job.outputs:
        folder, _, subfolder = (output.place or "output/").partition("/")
        subfolder = subfolder.replace(job.runs[-1].id, job.spec.id)
        file = {"filename": output.name, "subfolder": subfolder, "type": folder}
        shown.setdefault(output.node_id, {}).setdefault("images", []).append(file)
    return shown


def _status(job: Job, said: Any) -> Document:
    """As its ComfyUI said it, if that ended as the job did; else in its words, as far as they are known."""
    succeeded = job.status is JobStatus.SUCCEEDED
    expected = {
        JobStatus.SUCCEEDED: "execution_success",
        JobStatus.CANCELED: "execution_interrupted",
    }.get(job.status, "execution_error")
    messages = [(name, data) for name, data in (said or {}).get("messages") or ()]
    if expected not in dict(messages):
        started = [("execution_start", _at(job, job.started_at))] if job.started_at is not None else []
        kept = [(name, data) for name, data in messages if name not in _ENDINGS] or started
        messages = [*kept, (expected, {**_at(job, job.completed_at), **_why(job, expected)})]
    return {
        "status_str": "success" if succeeded else "error",
        "completed": succeeded,
        "messages": [[name, data] for name, data in messages],
    }


def _at(job: Job, seconds: float | None) -> Document:
    return {"prompt_id": job.spec.id, "timestamp": int((seconds or job.spec.created_at) * 1000)}


def _why(job: Job, ending: str) -> Document:
    if ending == "execution_success":
        return {}
    error = job.error
    at = {
        "node_id": (error.node_id if error else None) or (job.progress.node if job.progress else None),
        "node_type": (error.class_type if error else None) or (job.progress.node_class if job.progress else None),
        "executed": [],
    }
    if ending == "execution_interrupted":
        return at
    return {
        **at,
        "exception_message": error.message if error else f"the job is {job.status}",
        "exception_type": str(error.details.get("exception_type", error.code)) if error else str(job.status),
        "traceback": (error.traceback or "").splitlines(keepends=True) if error else [],
        "current_inputs": {},
        "current_outputs": [],
    }
