"""How far a prompt is: its nodes weighted by what they take, by what its ComfyUI says of them. Pure.

A sampler counts as much as its steps and any other node counts one; what ComfyUI has cached counts nothing. The value
never falls, whatever is said, and in whatever order. That it does not fall either when a retry begins from nothing, the
store sees to (lua/progress.lua): watchers hear nothing until the retry is further than its predecessor was.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

from orchestrator.comfy.protocol import Cached, Event, Executing, NodeProgress, Progress, ProgressState
from orchestrator.domain.job import Progress as JobProgress
from orchestrator.graph.shape import reachable


class Meter:
    """Of one prompt. `wanted`: the nodes that it executes for; none: all of the graph."""

    def __init__(self, graph: Mapping[str, Any], wanted: tuple[str, ...] = ()) -> None:
        self._graph = graph
        self._wanted = wanted
        self._cached: frozenset[str] = frozenset()
        self._done: set[str] = set()
        self._current: NodeProgress | None = None
        self._value = 0.0

    @property
    def node(self) -> str | None:
        """What executes now, as far as is known."""
        return self._current.node if self._current else None

    def hear(self, event: Event) -> None:
        """Takes in an event of the prompt."""
        match event:
            case Cached(nodes=nodes):
                self._cached = frozenset(nodes)
            case Executing(node=str(node)):
                self._enter(node)
            case Progress(node=node, value=value, maximum=maximum):
                self._current = NodeProgress(node, value, maximum, finished=False)
            case ProgressState(nodes=nodes):
                self._survey(nodes)
            case _:
                pass

    def read(self) -> JobProgress:
        """How far it is."""
        current, weights = self._current, self._weights
        todo = weights.keys() - self._cached
        total = sum(weights[node] for node in todo)
        done = sum(weights[node] for node in self._done & todo)
        if current is not None and current.node in todo - self._done and current.maximum > 0:
            done += weights[current.node] * min(current.value / current.maximum, 1.0)
        self._value = max(self._value, done / total if total else 0.0)
        stepping = current is not None and current.maximum > 1
        return JobProgress(
            value=round(self._value, 4),
            nodes_done=len((self._done | self._cached) & weights.keys()),
            nodes_total=len(weights),
            node=self.node,
            node_class=_class_type(self._graph, current.node) if current else None,
            step=int(current.value) if current and stepping else None,
            steps=int(current.maximum) if current and stepping else None,
        )

    @cached_property
    def _weights(self) -> Mapping[str, float]:
        """Of the nodes that are to execute."""
        nodes = reachable(self._graph, self._wanted) if self._wanted else self._graph
        return {node_id: _weight(self._graph, node_id) for node_id in nodes}

    def _enter(self, node: str) -> None:
        """Older versions say only what begins; then what was there before is done."""
        if self._current is not None and self._current.node != node:
            self._done.add(self._current.node)
        if self._current is None or self._current.node != node:
            self._current = NodeProgress(node, 0.0, 1.0, finished=False)

    def _survey(self, nodes: tuple[NodeProgress, ...]) -> None:
        for node in nodes:
            if not node.finished:
                self._current = node
            elif node.node in self._graph:
                self._done.add(node.node)


def _weight(graph: Mapping[str, Any], node_id: str) -> float:
    """What a node counts for: a sampler as much as its steps, and 1 for anything else."""
    if "sampler" not in (_class_type(graph, node_id) or "").lower():
        return 1.0
    return float(max(1, _steps(graph, node_id)))


def _steps(graph: Mapping[str, Any], node_id: str, hops: int = 8) -> int:
    """The steps in a node's inputs, or in those of what makes its sigmas."""
    inputs = _object(_object(graph.get(node_id)).get("inputs"))
    steps = inputs.get("steps")
    if isinstance(steps, int):
        return steps
    source = inputs.get("sigmas")
    if not isinstance(source, list) or not source or not hops:
        return 1
    return _steps(graph, str(cast("list[Any]", source)[0]), hops - 1)


def _class_type(graph: Mapping[str, Any], node_id: str) -> str | None:
    class_type = _object(graph.get(node_id)).get("class_type")
    return class_type if isinstance(class_type, str) else None


def _object(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
