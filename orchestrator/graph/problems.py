"""Problem: one thing that is wrong with a graph. They are collected, so that a caller is told all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from orchestrator.errors import InvalidRequest
from orchestrator.graph.shape import Graph, label, pointer, show

MAX_PROBLEMS = 100
"""Beyond these a graph is not corrected one by one, and an answer that lists more helps nobody."""


@dataclass(frozen=True, slots=True)
class Problem:
    """`code` is ComfyUI's own word for it where ComfyUI has one; `pointer` leads to the place in the graph."""

    code: str
    message: str
    pointer: str
    node_id: str | None = None
    class_type: str | None = None
    input: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def as_json(self) -> dict[str, Any]:
        named = {"node_id": self.node_id, "class_type": self.class_type, "input": self.input}
        return {
            "code": self.code,
            "message": self.message,
            "pointer": self.pointer,
            **{key: value for key, value in named.items() if value is not None},
            **self.details,
        }


def at_node(graph: Graph, node_id: str, code: str, message: str, **details: Any) -> Problem:
    """A problem of a whole node; `message` goes on after the node's name."""
    return Problem(
        code,
        f"{label(graph, node_id)} {message}",
        pointer(node_id),
        node_id,
        graph[node_id]["class_type"],
        None,
        details,
    )


def at_input(graph: Graph, node_id: str, name: str, code: str, message: str, **details: Any) -> Problem:
    """A problem of one input; `message` goes on after the input's name."""
    where = pointer(node_id, "inputs", name)
    message = f"{show(name).strip(chr(34))} of {label(graph, node_id)} {message}"
    return Problem(code, message, where, node_id, graph[node_id]["class_type"], name, details)


def refuse(problems: Sequence[Problem]) -> NoReturn:
    """Raises InvalidRequest("invalid_workflow") that leads with the first problem and lists them all."""
    first, more = problems[0], len(problems) - 1
    told = f" (and {more} more, see node_errors)" if more else ""
    raise InvalidRequest(
        "invalid_workflow",
        first.message + told,
        pointer=first.pointer,
        node_errors=[problem.as_json() for problem in problems[:MAX_PROBLEMS]],
    )
