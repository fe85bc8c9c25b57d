"""Who pays: the ledger, put together by what one wants to know. Labels are looked up at the jobs that are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.domain.ledger import UNUSED, Entry, Kind
from orchestrator.domain.run import Run
from orchestrator.errors import InvalidRequest
from orchestrator.store.port import Store

JOBS = "jobs"
"""What all seconds of a run are called where they are looked up at its job."""

KEYS: Mapping[str, Callable[[Entry], str | None]] = {
    "workflow": lambda it: it.workflow or None,
    "version": lambda it: f"{it.workflow}@{it.version}" if it.version else it.workflow or None,
    "tenant": lambda it: it.tenant or None,
    "pool": lambda it: it.pool,
    "gpu": lambda it: it.gpu or None,
    "worker": lambda it: it.worker,
    "kind": lambda it: it.kind.value,
}


@dataclass(slots=True)
class Sum:
    """`kinds`: seconds and dollars by kind. `unpriced_s`: seconds of workers whose GPU has no rate."""

    seconds: float = 0.0
    dollars: float = 0.0
    unpriced_s: float = 0.0
    kinds: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    def add(self, seconds: float, dollars: float | None, kind: str) -> None:
        self.seconds += seconds
        self.dollars += dollars or 0.0
        self.unpriced_s += seconds if dollars is None else 0.0
        was_s, was = self.kinds.get(kind, (0.0, 0.0))
        self.kinds[kind] = was_s + seconds, was + (dollars or 0.0)


@dataclass(frozen=True, slots=True)
class Bill:
    """`groups`: None is what has no such thing: the unused time where jobs are grouped."""

    groups: Mapping[str | None, Sum]
    total: Sum


async def add_up(hours: AsyncIterable[Sequence[Entry]], key: Callable[[Entry], str | None]) -> Bill:
    groups: defaultdict[str | None, Sum] = defaultdict(Sum)
    total = Sum()
    async for entries in hours:
        for it in entries:
            for part in (groups[key(it)], total):
                part.add(it.seconds, None if it.rate is None else it.dollars, it.kind.value)
    return Bill(groups, total)


async def bill(store: Store, group_by: str, since: float, until: float) -> Bill:
    """`group_by`: one of KEYS, or label[NAME]. Raises InvalidRequest."""
    if group_by in KEYS:
        return await add_up(store.ledger(since, until), KEYS[group_by])
    if not (group_by.startswith("label[") and group_by.endswith("]")):
        known = ", ".join(KEYS)
        raise InvalidRequest(
            "invalid_group", f"group_by is one of {known}, or label[NAME], not {group_by[:80]!r}", pointer="/group_by"
        )
    whole = await add_up(store.ledger(since, until), KEYS["kind"])
    return await _by_label(store, group_by[6:-1], since, until, whole)


async def _by_label(store: Store, label: str, since: float, until: float, whole: Bill) -> Bill:
    """Jobs that ended in that time and are kept, by what they say, with what they had in it. The rest of the ledger
    goes to None: jobs without the label, jobs that were not over or are not kept, and what was unused."""
    groups: defaultdict[str | None, Sum] = defaultdict(Sum)
    async for page in store.ended_between(since, until):
        for job in page:
            value = job.spec.metadata.get(label)
            for run in job.runs if value is not None else ():
                share = share_within(run, since, until)
                groups[value].add(run.charged_s * share, None if run.cost is None else run.cost * share, JOBS)
    labelled = list(groups.values())
    rest, total = groups[None], whole.total
    rest.seconds = total.seconds - sum(it.seconds for it in labelled)
    rest.dollars = total.dollars - sum(it.dollars for it in labelled)
    rest.unpriced_s = total.unpriced_s - sum(it.unpriced_s for it in labelled)
    rest.kinds = {kind: spent for kind, spent in total.kinds.items() if Kind(kind) in UNUSED}
    unused_s, unused = (sum(column) for column in zip((0.0, 0.0), *rest.kinds.values(), strict=True))
    rest.kinds[JOBS] = rest.seconds - unused_s, rest.dollars - unused
    return Bill(groups, total)


def share_within(run: Run, since: float, until: float) -> float:
    """Of what a run was charged for: it may have begun long before."""
    began = run.timings.started_at
    if began is None or run.charged_s <= 0:
        return 0.0
    return max(0.0, min(began + run.charged_s, until) - max(began, since)) / run.charged_s
