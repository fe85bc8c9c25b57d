"""Runs that no worker can ever do: found out slowly and carefully, as a refused run is a failed job.

The rule: a queued run is refused when its pool has ready workers, and none of the pool's workers could do it, the
starting, draining and recently lost ones among them, at two looks GRACE_S apart. Without a ready worker it waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.job import JobError
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import WorkerState
from orchestrator.scheduling import ticket as tickets
from orchestrator.scheduling.feasible import NOTHING, able, gib, lack, to_fetch
from orchestrator.scheduling.fleet import WorkerView
from orchestrator.scheduling.index import DOWN_LONG_S, GRACE_S, Index
from orchestrator.scheduling.pool import Pool
from orchestrator.scheduling.queue import Group

AT_ONCE = 200  # runs refused in one plan; the rest follow in the next
NAMED = 5  # workers that an error tells about


@dataclass(frozen=True, slots=True)
class Refusal:
    """A queued run that no worker of its pool can do, and the error that its job fails with."""

    run_id: str
    attempt: int
    error: JobError


def review(index: Index, pool: Pool, now: float) -> list[Refusal]:
    """Refuses what is infeasible for long enough; while anything is without a worker, the pool is looked at again."""
    refusals: list[Refusal] = []
    workers = list(pool.fleet.workers.values())
    if not any(view.state is WorkerState.READY and view.offer for view in workers):
        return refusals  # a change of its workers brings the next review
    look_again = False
    for group in list(pool.queue.line):
        if any(able(view, group) and view.state is WorkerState.READY for view in workers):
            group.infeasible_since = None
            continue
        look_again = True
        if any(_may_yet(view, group, now) for view in workers):
            group.infeasible_since = None
        elif group.infeasible_since is None:
            group.infeasible_since = now
        elif now - group.infeasible_since >= GRACE_S:
            _refuse(index, group, _error(group, workers), refusals)
    if len(refusals) >= AT_ONCE:
        index.review_later(pool, now)
    elif look_again:
        index.review_later(pool, now + GRACE_S)
    return refusals


def _may_yet(view: WorkerView, group: Group, now: float) -> bool:
    """Whether this worker, which is not ready or not able, may still turn out to be both."""
    if view.down_since is not None and now - view.down_since >= DOWN_LONG_S:
        return False
    return able(view, group) or view.offer is None or bool(to_fetch(view, group))


def _refuse(index: Index, group: Group, error: JobError, refusals: list[Refusal]) -> None:
    while group.head is not None and len(refusals) < AT_ONCE:
        held = index.take(group)
        refusals.append(Refusal(tickets.run_id(held.number), held.trait.attempt, error))


def _error(group: Group, workers: list[WorkerView]) -> JobError:
    """Tells what is missing on the worker that comes closest, and what to do about it."""
    offers = {view.id: view.offer for view in workers if view.offer is not None}
    lacks = {worker: lack(group, offer) for worker, offer in offers.items()}
    closest, least = min(lacks.items(), key=lambda item: (len(item[1].classes) + len(item[1].models), item[0]))
    if least is NOTHING:
        return _too_small(group, workers)
    cures = [_cure(ref, offers[closest].faults.get(ref)) for ref in least.models]
    if least.classes:
        cures.append(f"install the custom nodes that bring {', '.join(least.classes)}")
    return JobError(
        "no_capable_worker",
        f"no worker of pool {group.pool} can run this graph; {closest} comes closest: {' and '.join(cures)}, "
        "then restart it and submit again",
        details={
            "pool": group.pool,
            "worker": closest,
            "missing_models": [ref.path for ref in least.models],
            "missing_classes": list(least.classes),
            "workers": {
                worker: [*(ref.path for ref in missing.models), *missing.classes]
                for worker, missing in list(lacks.items())[:NAMED]
            },
        },
    )


def _too_small(group: Group, workers: list[WorkerView]) -> JobError:
    """Some have all that it takes but for the memory."""
    tried = group.needs.vram_over
    return JobError(
        "out_of_memory",
        f"it ran out of memory on a worker with {gib(tried)} of VRAM and nothing else in it, and no worker of pool "
        f"{group.pool} that can run this graph has more: use a smaller size or batch, or add a worker with more VRAM",
        details={
            "pool": group.pool,
            "vram_bytes_over": tried,
            "workers": {view.id: view.info.vram_bytes for view in workers[:NAMED]},
        },
    )


def _cure(ref: ModelRef, fault: str | None) -> str:
    put = f"put {ref.name} into {_place(ref)} of its ComfyUI"
    return f"{fault}; mend that, or {put}" if fault else put


def _place(ref: ModelRef) -> str:
    return f"models/{ref.folder}" if ref.folder != "unknown" else "the folder that its loader lists"
