"""Workers: what they are, and what they went through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.api.fleet.views.times import iso
from orchestrator.domain.worker import Worker, WorkerChange, WorkerKind, WorkerState

ShownState = WorkerState | Literal["busy"]


@described
class WorkerView(TypedDict):
    id: str
    state: ShownState
    """busy: ready, and it has runs."""
    note: str | None
    """Why it is in this state."""
    pool: str
    kind: WorkerKind
    url: str
    """Empty while a supervised worker has no ComfyUI."""
    agent: str
    gpu: str | None
    rate: float | None
    """Dollars an hour."""
    comfyui_version: str | None
    lock: str | None
    """Digest of the lock that it was compared with, and conforms to; null: it has none, or differs (see note)."""
    device: str | None
    vram_bytes: int | None
    ram_bytes: int | None
    runs: list[str]
    """Runs assigned to it, oldest first."""


@described
class WorkerChangeView(TypedDict):
    at: str
    state: WorkerState
    note: str | None


@described
class WorkerStoryView(WorkerView):
    changes: list[WorkerChangeView]
    """What it went through lately, newest first."""


@described
class WorkersView(TypedDict):
    workers: list[WorkerView]


def worker_view(worker: Worker) -> WorkerView:
    info = worker.info
    return {
        "id": info.id,
        "state": "busy" if worker.busy else worker.state,
        "note": worker.note,
        "pool": info.pool,
        "kind": info.kind,
        "url": info.url,
        "agent": info.agent,
        "gpu": info.gpu,
        "rate": info.rate,
        "comfyui_version": info.comfyui_version,
        "lock": info.lock,
        "device": info.device,
        "vram_bytes": info.vram_bytes,
        "ram_bytes": info.ram_bytes,
        "runs": list(worker.runs),
    }


def worker_story_view(worker: Worker, changes: Sequence[WorkerChange]) -> WorkerStoryView:
    return {**worker_view(worker), "changes": [_change(change) for change in changes]}


def _change(change: WorkerChange) -> WorkerChangeView:
    return {"at": iso(change.at), "state": change.state, "note": change.note}
