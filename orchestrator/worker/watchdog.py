"""Watchdog: whether a run still gets on, by what its ComfyUI says of it. Pure.

A sampler that has begun its steps says so at each; everything else, loading models above all, may be silent for long.
So there are two budgets, and the first one stretches with the steps that were seen: a slow sampler is no hung one.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.comfy.protocol import Event, Executing, Progress, ProgressState

STRETCH = 5.0  # times its slowest step so far, before a sampler that gives no sign counts as hung


@dataclass(frozen=True, slots=True)
class Budgets:
    """Seconds without a sign: between two steps, and of a node that tells none."""

    step_s: float
    node_s: float


class Watchdog:
    """Over one run, from when it began to execute. Times are seconds of any clock that only rises."""

    def __init__(self, budgets: Budgets, now: float) -> None:
        self._budgets = budgets
        self._sign_at = now
        self._node: str | None = None
        self._value = 0.0
        self._stepping = False  # it is between two steps
        self._stepped_at = now
        self._slowest_s = 0.0  # step of this node so far

    def hear(self, event: Event, now: float) -> None:
        """Whatever ComfyUI says of the run is a sign."""
        match event:
            case Executing(node=node):
                self._enter(node)
            case Progress(node=node, value=value, maximum=maximum):
                self._step(node, value, maximum, now)
            case ProgressState(nodes=nodes):
                for each in nodes:
                    if not each.finished:
                        self._step(each.node, each.value, each.maximum, now)
            case _:
                pass
        self._sign_at = now

    @property
    def budget_s(self) -> float:
        """How long it may be silent where it is now."""
        if not self._stepping:
            return self._budgets.node_s
        return max(self._budgets.step_s, STRETCH * self._slowest_s)

    def overdue(self, now: float) -> str | None:
        """Why it counts as hung, in words."""
        silent_s = now - self._sign_at
        if silent_s <= self.budget_s:
            return None
        where = f"in node {self._node}" if self._node else "before its first node"
        return f"no sign of progress for {silent_s:.0f} s {where}"

    def _enter(self, node: str | None) -> None:
        if node != self._node:
            self._node, self._value, self._stepping, self._slowest_s = node, 0.0, False, 0.0

    def _step(self, node: str, value: float, maximum: float, now: float) -> None:
        self._enter(node)
        if value <= self._value:
            return
        if self._stepping:
            self._slowest_s = max(self._slowest_s, now - self._stepped_at)
        self._value, self._stepped_at = value, now
        self._stepping = value < maximum
