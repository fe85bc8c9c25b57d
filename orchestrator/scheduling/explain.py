"""Why this worker and not the others, in words and seconds, small enough to be kept with every run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Worker
from orchestrator.scheduling import ticket as tickets
from orchestrator.scheduling.cost import Cost, cost
from orchestrator.scheduling.feasible import refusal
from orchestrator.scheduling.fleet import Fleet, WorkerView
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.models import Offer
from orchestrator.scheduling.pool import Pool
from orchestrator.scheduling.queue import Group

OTHERS = 3  # other workers that are told about: in a small fleet all
FILES = 8


class Explanation(NamedTuple):
    """What there is to say of an assignment, before it is booked; put into words where it is carried out."""

    its: Cost
    resident: Sequence[str]  # paths of files that the worker holds
    loads: Sequence[str]
    considered: Sequence[tuple[str, Cost]]  # by worker
    refused: Sequence[tuple[str, str]]
    tenant: str
    ahead_s: float  # GPU-seconds (by weight) that its tenant is ahead of what all are measured by
    allowed_s: float
    within: bool
    waited_for: str | None  # the worker that was hoped for at first

    def reasons(self) -> Mapping[str, Any]:
        """JSON-ready."""
        considered = [{"worker": worker, **_terms(theirs)} for worker, theirs in self.considered]
        considered.sort(key=itemgetter("finish_s", "worker"))
        return {
            "why": _why(self.its, self.loads, considered) + self._waited(),
            **_terms(self.its),
            "resident": self.resident[:FILES],
            "loads": self.loads[:FILES],
            "considered": considered,
            "refused": dict(self.refused),
            **({"waited_for": self.waited_for} if self.waited_for else {}),
            "share": {
                "tenant": self.tenant,
                "ahead_s": round(self.ahead_s, 1),
                "allowed_s": self.allowed_s,
                "within": self.within,
            },
        }

    def _waited(self) -> str:
        if self.waited_for is None:
            return ""
        return f"; it had waited for {self.waited_for}, which held its models and was expected to be done sooner"


def explain(
    index: Index, pool: Pool, group: Group, profile: str, chosen: WorkerView, its: Cost, now: float
) -> Explanation:
    """Of an assignment that is about to be booked: of the group's next run, whose profile this is."""
    considered: list[tuple[str, Cost]] = []
    refused: list[tuple[str, str]] = []
    for view in _others(pool.fleet, group, chosen):
        reason = refusal(view, group, pool.fleet)
        if reason is None:
            considered.append((view.id, cost(view, group, profile, index.learned, now)))
        else:
            refused.append((view.id, reason))
    vram = chosen.memory.vram
    tenant = pool.fairness.numbered(tickets.tenant(group.next))
    return Explanation(
        its,
        [file.path for file in group.files if file in vram],
        [file.path for file in group.files if file not in vram],
        considered,
        refused,
        tenant.name,
        tenant.had - pool.fairness.level,
        pool.fairness.allowance_s,
        not group.excess,
        group.patience[2] if group.patience and group.patience[0] == group.head else None,
    )


def obstacles(entry: QueueEntry, workers: Iterable[tuple[Worker, Offer | None]]) -> dict[str, str]:
    """Which of its pool's workers cannot take a queued run as they stand, and why: worker -> the CHECK's words."""
    index = Index()
    for worker, offer in workers:
        index.worker(worker, offer, 0.0)
    index.queued(entry, 0.0)
    pool = index.pools[entry.pool]
    (group,) = pool.queue.line
    refused = {view.id: refusal(view, group, pool.fleet) for view in pool.fleet.workers.values()}
    return {worker: reason for worker, reason in refused.items() if reason is not None}


def _why(its: Cost, loads: Sequence[str], considered: Sequence[Mapping[str, Any]]) -> str:
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


def _others(fleet: Fleet, group: Group, chosen: WorkerView) -> Iterable[WorkerView]:
    """A bounded sample: first who holds the heaviest file, then who is open, then who is there."""
    holders = fleet.holders.of(group.anchor) if group.anchor else ()
    some = chain(islice(holders, OTHERS - 1), islice(fleet.open, 2), islice(fleet.workers.values(), OTHERS + 1))
    others = dict.fromkeys(some)
    others.pop(chosen, None)
    return islice(others, OTHERS)
