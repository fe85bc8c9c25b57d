"""Who holds which models, in which tier: by worker, and by model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import Residency, Worker, WorkerState
from orchestrator.store.port import Contents

TIERS = ("vram", "ram", "disk", "remote")


@described
class ResidentModel(TypedDict):
    folder: str
    name: str
    size_bytes: int | None
    """Of the file."""
    held_bytes: int | None
    """In this tier, where that is measured."""
    sha256: str | None
    """null: nobody has read the file yet. Files of one name are the same model where this is."""


@described
class WorkerResidency(TypedDict):
    worker: str
    pool: str
    state: WorkerState
    source: str
    """measured by its node pack, or inferred from what it ran."""
    why: str | None
    """Why it is not measured, or which part of it is not."""
    vram: list[ResidentModel]
    """Most recently used last."""
    ram: list[ResidentModel]
    disk: list[ResidentModel]
    """What it lists, and has in no other tier."""
    remote: list[ResidentModel]
    """What its lock names and its disk lacks: its agent fetches it once queued runs need it."""


@described
class ModelResidency(TypedDict):
    folder: str
    name: str
    size_bytes: int | None
    sha256: str | None
    vram: list[str]
    """The workers that hold it there."""
    ram: list[str]
    disk: list[str]
    remote: list[str]


@described
class ResidencyView(TypedDict):
    workers: list[WorkerResidency]
    models: list[ModelResidency]


def residency_view(workers: Sequence[Worker], contents: Mapping[str | None, Contents]) -> ResidencyView:
    """`contents` by Worker.models."""
    shown = [_worker(worker, contents.get(worker.models, {})) for worker in workers]
    return {"workers": shown, "models": _models(shown)}


def _worker(worker: Worker, contents: Contents) -> WorkerResidency:
    answers = worker.state in (WorkerState.READY, WorkerState.DRAINING)  # what others held is gone, or going
    residency = worker.residency if answers else Residency()
    in_memory = {*residency.vram, *residency.ram}
    remote = {ref for ref, content in contents.items() if content.remote}

    def models(tier: Iterable[ModelRef]) -> list[ResidentModel]:
        return [_model(ref, residency, contents) for ref in tier]

    return {
        "worker": worker.info.id,
        "pool": worker.info.pool,
        "state": worker.state,
        "source": residency.source,
        "why": residency.why or None,
        "vram": models(residency.vram),
        "ram": models(residency.ram),
        "disk": models(sorted(contents.keys() - in_memory - remote)),
        "remote": models(sorted(remote)),
    }


def _model(ref: ModelRef, residency: Residency, contents: Contents) -> ResidentModel:
    known = contents.get(ref)
    return {
        "folder": ref.folder,
        "name": ref.name,
        "size_bytes": residency.sizes.get(ref) or (known.bytes if known else None),
        "held_bytes": residency.held.get(ref),
        "sha256": known.sha256 if known else None,
    }


def _models(workers: Iterable[WorkerResidency]) -> list[ModelResidency]:
    found: dict[tuple[str, str, str], ModelResidency] = {}
    for worker in workers:
        for tier in TIERS:
            for model in worker[tier]:
                key = model["folder"], model["name"], model["sha256"] or ""
                shown = found.setdefault(
                    key,
                    {
                        "folder": model["folder"],
                        "name": model["name"],
                        "size_bytes": model["size_bytes"],
                        "sha256": model["sha256"],
                        "vram": [],
                        "ram": [],
                        "disk": [],
                        "remote": [],
                    },
                )
                shown[tier].append(worker["worker"])
    return [found[key] for key in sorted(found)]
