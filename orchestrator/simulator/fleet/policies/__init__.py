"""The policies that are compared: comfyfleet's own, those that others use, and the reference."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import InvalidRequest
from orchestrator.simulator.fleet.policies.eager import EarliestCompletion, LeastQueue, RoundRobin, StickyHash
from orchestrator.simulator.fleet.policies.late import Fitness, Reference, Swarm
from orchestrator.simulator.fleet.policies.scheduler import Scheduler

POLICIES = {
    policy.name: policy
    for policy in (
        Reference, RoundRobin, LeastQueue, StickyHash, Fitness, EarliestCompletion, Swarm, Scheduler,
    )
}  # fmt: skip

REFERENCE = Reference.name

__all__ = ["POLICIES", "REFERENCE", "Scheduler", "chosen"]


def chosen(names: str) -> Sequence[str]:
    """The policies of a comma-separated list, or `all`; the reference comes first, as the others are held to it.

    Raises InvalidRequest for a name that there is not.
    """
    wanted = list(POLICIES) if names == "all" else [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in POLICIES]
    if unknown:
        raise InvalidRequest(
            "unknown_policy", f"there is no policy {unknown[0]!r}; there are all, {', '.join(POLICIES)}"
        )
    return tuple(dict.fromkeys((REFERENCE, *wanted)))
