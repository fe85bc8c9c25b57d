"""What a worker should read into its RAM while it executes, so that nobody waits for a disk later.

A file that no worker holds in memory costs whoever needs it next a load from disk, several times a load from RAM. So a
worker that was just given a run is told to read what the oldest queued runs need and nobody holds, unless that would
push the last copy of another file out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import WorkerKind
from orchestrator.scheduling.feasible import fits
from orchestrator.scheduling.fleet import Fleet, WorkerView
from orchestrator.scheduling.models import ModelFile
from orchestrator.scheduling.pool import Pool

HEADS = 4  # oldest groups that are looked at


class Prefetch(NamedTuple):
    """Files for a worker to have in RAM, in this order; what it was told before holds no more."""

    worker: str
    files: tuple[ModelRef, ...]


def prefetch(pool: Pool, view: WorkerView) -> Prefetch | None:
    """For a worker that has just been given a run. It is booked in the index as done. The files of an attached
    ComfyUI are out of its agent's reach."""
    if view.info.kind is not WorkerKind.SUPERVISED:
        return None
    fleet = pool.fleet
    for group in fits(view, pool.queue.line, fleet, HEADS):
        cold = [file for file in group.files if not fleet.holders.of(file)]
        if cold and _spares(view.memory.pushed_out_of_ram_by(cold), fleet):
            view.memory.stage(cold)
            fleet.update(view, view in fleet.open)
            return Prefetch(view.id, tuple(file.ref for file in cold))
    return None


def _spares(files: Iterable[ModelFile], fleet: Fleet) -> bool:
    """Whether others hold all of these too."""
    return all(len(fleet.holders.of(file)) > 1 for file in files)
