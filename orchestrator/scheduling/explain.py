"""Why this worker and not the others, in words and seconds, small enough to be kept with every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from operator import itemgetter
from typing import Any

from orchestrator.scheduling.cost import Cost, cost
from orchestrator.scheduling.feasible import refusal
from orchestrator.scheduling.fleet import Fleet, WorkerView
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.pool import Pool
from orchestrator.scheduling.queue import Group

OTHERS = 3  # other workers that are told about: in a small fleet all, in a large one those that have the models first
FILES = 8


def explain(index: Index, pool: Pool, group: Group, chosen: WorkerView, its: Cost, now: float) -> Mapping[str, Any]:
    """The reasons of an assignment, JSON-ready, as they stand before it is booked."""
    profile = index.next_profile(group)
    considered: list[Mapping[str, Any]] = []
    refused: dict[str, str] = {}
    for view in _others(pool.fleet, group, chosen):
        reason = refusal(view, group, pool.fleet)
        if reason is not None:
            refused[view.id] = reason
            continue
        theirs = cost(view, group, profile, index.learned, now)
        considered.append({"worker": view.id, **_terms(theirs)})
    considered.sort(key=itemgetter("finish_s", "worker"))
    vram = chosen.memory.vram
    loads = [file.path for file in group.files if file not in vram]
    return {
        "why": _why(its, loads, considered),
        **_terms(its),
        "resident": [file.path for file in group.files if file in vram][:FILES],
        "loads": loads[:FILES],
        "considered": considered,
        "refused": refused,
        "share": _share(index, pool, group),
    }


def _share(index: Index, pool: Pool, group: Group) -> Mapping[str, Any]:
    """Where its tenant stands: how many GPU-seconds (by weight) it is ahead of what all are measured by."""
    tenant = index.waiting.tenant(group.next)
    return {
        "tenant": tenant.name,
        "ahead_s": round(tenant.had - pool.fairness.level, 1),
        "allowed_s": pool.fairness.allowance_s,
        "within": not group.excess,
    }


def _why(its: Cost, loads: list[str], considered: list[Mapping[str, Any]]) -> str:
    when = "is free" if its.wait_s <= 0 else f"is free in about {its.wait_s:.1f} s"
    what = (
        "has nothing to load" if not loads else f"loads {len(loads)} file{'s' * (len(loads) > 1)} in {its.load_s:.1f} s"
    )
    if not considered:
        return f"{when} and {what}; no other worker that was looked at can take it"
    soonest = considered[0]["finish_s"]
    if its.finish_s <= soonest:
        return f"{when} and {what}: done soonest of the workers looked at"
    return f"{when} and {what}; {considered[0]['worker']} might be done sooner, but is busy or would lose other models"


def _terms(its: Cost) -> dict[str, float]:
    wait_s, load_s, execute_s = its
    return {
        "wait_s": round(wait_s, 3),
        "load_s": round(load_s, 3),
        "execute_s": round(execute_s, 3),
        "finish_s": round(its.finish_s, 3),
    }


def _others(fleet: Fleet, group: Group, chosen: WorkerView) -> Iterator[WorkerView]:
    """A bounded sample: who holds the heaviest file, then who is there."""
    holders = fleet.holders.of(group.anchor) if group.anchor else ()
    some = chain(islice(holders, OTHERS), islice(fleet.workers.values(), OTHERS + 1))
    return islice((view for view in dict.fromkeys(some) if view is not chosen), OTHERS)
