"""What a trace shows of a run: what it waited for, and when each node executed, as its ComfyUI tells it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import time

from orchestrator.comfy.protocol import Event, Executing
from orchestrator.store.port import Graph, Order
from orchestrator.telemetry import traces


def traced(order: Order) -> AbstractContextManager[object]:
    """The body is the run, a part of its job's trace; what it waited for in the queue is another one."""
    run, spec = order.run, order.spec
    told = {
        "job": spec.id, "run": run.id, "worker": run.worker, "workflow": spec.workflow, "slot": run.slot,
        "attempt": run.attempt,
    }  # fmt: skip
    given_at = run.timings.assigned_at or run.timings.queued_at
    traces.over("queue", run.timings.queued_at, given_at, told, parent=spec.traceparent)
    return traces.span("run", told, parent=spec.traceparent, start=given_at)


class NodeTimes:
    """Of one run, in Unix seconds by the clock of whoever listens. ComfyUI tells what begins: a node ends where the
    next one begins, or the run ends."""

    def __init__(self) -> None:
        self.done: list[tuple[str, float, float]] = []
        self._node: str | None = None
        self._since = 0.0

    def hear(self, event: Event, now: float) -> None:
        if isinstance(event, Executing) and event.node != self._node:
            self._close(now)
            self._node, self._since = event.node, now

    def tell(self, graph: Graph, executed_s: float) -> None:
        """It has come to its end now. What is executed after that is told anew."""
        now = time()
        self._close(now)
        with traces.span("execute", start=now - executed_s):
            for node, start, end in self.done:
                class_type = str(graph[node]["class_type"]) if node in graph else "a node that another one made"
                traces.over(class_type, start, end, {"node": node, "class_type": class_type})
        self.done, self._node = [], None

    def _close(self, now: float) -> None:
        if self._node is not None:
            self.done.append((self._node, self._since, now))
