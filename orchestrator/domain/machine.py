"""The one way a state changes: look it up in the entity's table.

Each table is `TRANSITIONS[state, event] -> state` in its entity's module; the Lua scripts of the store are
given the same tables (see store/redis.py), so there is one source for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from orchestrator.errors import IllegalTransition

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def advance(table: Mapping[tuple[S, E], S], state: S, event: E, history: Sequence[str] = ()) -> S:
    """The state after `event`, or IllegalTransition telling the entity's last events."""
    try:
        return table[state, event]
    except KeyError:
        story = ", ".join(history[-10:]) or "none recorded"
        raise IllegalTransition(
            "illegal_transition", f"{type(state).__name__} {state} has no transition for {event}; last events: {story}"
        ) from None


def reachable_ends(table: Mapping[tuple[S, E], S], states: type[S]) -> frozenset[S]:
    """The terminal states: those that no event leaves."""
    left = {state for (state, _), target in table.items() if target != state}
    return frozenset(state for state in states if state not in left)


def mermaid(table: Mapping[tuple[S, E], S]) -> str:
    """The table as a Mermaid state diagram, for the docs."""
    lines = [f"    {state} --> {target}: {event}" for (state, event), target in table.items()]
    return "\n".join(["stateDiagram-v2", *lines])
