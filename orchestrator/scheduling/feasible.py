"""CHECKS: what must hold before a worker is considered for a run. Each says in words why it does not.

A worker that passes them all could execute the run; how soon is cost.py's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import WorkerState
from orchestrator.scheduling.fleet import Fleet, WorkerView
from orchestrator.scheduling.models import Offer
from orchestrator.scheduling.queue import Group, Lack

NAMED = 3  # missing things that a reason names; of more it says how many


def state(view: WorkerView, _group: Group, _fleet: Fleet) -> str | None:
    if view.state is not WorkerState.READY:
        return f"is {view.state}" + (f" ({view.note})" if view.note else "")
    return "has not been inspected yet" if view.offer is None else None


def classes(view: WorkerView, group: Group, _fleet: Fleet) -> str | None:
    missing = lack(group, view.offer).classes if view.offer else ()
    return f"has no node class {_some(missing)}" if missing else None


def models(view: WorkerView, group: Group, _fleet: Fleet) -> str | None:
    if view.offer is None or not (missing := lack(group, view.offer).models):
        return None
    words = f"has no model {_some(tuple(model.path for model in missing))}"
    if to_fetch(view, group):
        return f"{words} on its disk: its agent fetches that for runs which no other worker would do sooner"
    faults = [view.offer.faults[ref] for ref in missing if ref in view.offer.faults]
    return f"{words}: {faults[0]}" if faults else words


def memory(view: WorkerView, group: Group, _fleet: Fleet) -> str | None:
    if roomy(view, group):
        return None
    return f"has {gib(view.info.vram_bytes)} of VRAM, and {gib(group.needs.vram_over)} were too few"


def avoid(view: WorkerView, group: Group, fleet: Fleet) -> str | None:
    if view.id not in group.avoid:
        return None
    for other in fleet.workers.values():
        if other.id not in group.avoid and other.state is WorkerState.READY and able(other, group):
            return "lost an earlier attempt of this run, and there are others"
    return None


NOTHING = Lack((), ())

Check = Callable[[WorkerView, Group, Fleet], str | None]

CHECKS: tuple[Check, ...] = (state, classes, models, memory, avoid)
"""In order of what explains most. The pool needs none: a run meets the workers of its pool alone."""


def refusal(view: WorkerView, group: Group, fleet: Fleet) -> str | None:
    """Why the worker cannot take the group's runs now, by the first of CHECKS that says so; None if it can."""
    if view.state is WorkerState.READY and view.offer is not None and _passes(view, view.offer, group, fleet):
        return None
    for check in CHECKS:
        reason = check(view, group, fleet)
        if reason is not None:
            return reason
    return None


def able(view: WorkerView, group: Group) -> bool:
    """Whether the worker has all that the group needs, whatever its state."""
    return view.offer is not None and lack(group, view.offer) is NOTHING and roomy(view, group)


def to_fetch(view: WorkerView, group: Group) -> tuple[ModelRef, ...]:
    """The models with which the worker would have all that the group needs, if its agent can fetch them."""
    if view.offer is None or not view.offer.remote or not roomy(view, group):
        return ()
    missing = lack(group, view.offer)
    return () if missing.classes or not view.offer.remote.issuperset(missing.models) else missing.models


def roomy(view: WorkerView, group: Group) -> bool:
    """Whether the worker has more VRAM than was too little elsewhere; one that does not tell may have."""
    over = group.needs.vram_over
    return not over or view.info.vram_bytes is None or view.info.vram_bytes > over


def fits(view: WorkerView, groups: Iterable[Group], fleet: Fleet, most: int) -> list[Group]:
    """The first of the groups that an open worker passes all CHECKS for, so many at most; what decisions ask most."""
    found: list[Group] = []
    offer = view.offer
    if offer is not None:
        for group in groups:
            # Nearly always the memo alone tells.
            if (not group.avoid and group.lacks.get(offer) is NOTHING) or _passes(view, offer, group, fleet):
                found.append(group)
                if len(found) == most:
                    break
    return found


def _passes(view: WorkerView, offer: Offer, group: Group, fleet: Fleet) -> bool:
    """All CHECKS in one go, of a worker that is ready and has this offer."""
    if (group.lacks.get(offer) or lack(group, offer)) is not NOTHING:
        return False
    # What needs more VRAM than somebody has was tried there, and so avoids that worker.
    return not group.avoid or (roomy(view, group) and avoid(view, group, fleet) is None)


def lack(group: Group, offer: Offer) -> Lack:
    """What the offer is missing for the group. Of folders that it does not list, nothing is said to be missing."""
    known = group.lacks.get(offer)
    if known is None:
        needs = group.needs
        classes = tuple(name for name in needs.classes if name not in offer.classes)
        models = tuple(ref for ref in needs.models if ref.folder in offer.folders and ref not in offer.models)
        known = group.lacks[offer] = Lack(classes, models) if classes or models else NOTHING
    return known


def gib(size: int | None) -> str:
    """Bytes as people say them."""
    return f"{(size or 0) / 2**30:.1f} GiB"


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
