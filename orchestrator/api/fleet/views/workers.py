"""Workers, and the models that they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.api.fleet.views.times import iso
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import Worker, WorkerChange, WorkerKind, WorkerState
from orchestrator.store.port import Contents

ShownState = WorkerState | Literal["busy"]


@described
class ResidentModel(TypedDict):
    folder: str
    name: str
    size_bytes: int | None
    sha256: str | None
    """null: nobody has read the file yet. Files of one name are the same model where this is."""


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


@described
class WorkerResidency(TypedDict):
    worker: str
    pool: str
    source: str
    """inferred from what it ran, or measured there."""
    vram: list[ResidentModel]
    ram: list[ResidentModel]


@described
class ResidencyView(TypedDict):
    workers: list[WorkerResidency]


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


def residency_view(workers: Sequence[Worker], contents: Mapping[str | None, Contents]) -> ResidencyView:
    """`contents` by Worker.models."""
    return {"workers": [_worker_residency(worker, contents.get(worker.models, {})) for worker in workers]}


def _worker_residency(worker: Worker, contents: Contents) -> WorkerResidency:
    residency = worker.residency

    def model(ref: ModelRef) -> ResidentModel:
        known = contents.get(ref)
        size = residency.sizes.get(ref) or (known.bytes if known else None)
        return {"folder": ref.folder, "name": ref.name, "size_bytes": size, "sha256": known.sha256 if known else None}

    return {
        "worker": worker.info.id,
        "pool": worker.info.pool,
        "source": residency.source,
        "vram": [model(ref) for ref in residency.vram],
        "ram": [model(ref) for ref in residency.ram],
    }


def _change(change: WorkerChange) -> WorkerChangeView:
    return {"at": iso(change.at), "state": change.state, "note": change.note}
