"""In which order the nodes of a prompt are executed: ComfyUI's topological dissolve, with its preference for outputs.

Clients see the order in their messages, so it is ComfyUI's and not merely a correct one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.simulator.comfyui.cache import is_link


class ExecutionOrder:
    """Nodes that outputs need and that are not cached; a node is ready when none of those blocks it."""

    def __init__(
        self, prompt: Mapping[str, Any], is_output: Callable[[str], bool], is_cached: Callable[[str], bool]
    ) -> None:
        self._prompt = prompt
        self._is_output = is_output
        self._is_cached = is_cached
        self._pending: dict[str, set[str]] = {}
        """Node -> the nodes that block it."""
        self._blocks: dict[str, dict[str, None]] = {}
        """Node -> the nodes that it blocks, in the order in which they were found."""

    def add(self, output: str) -> None:
        """Add an output, cached or not, and what it needs that is not cached."""
        found, links = [output], list[tuple[str, str]]()
        while found:
            node_id = found.pop()
            if node_id in self._pending:
                continue
            self._pending[node_id], self._blocks[node_id] = set(), {}
            for value in self._prompt[node_id]["inputs"].values():
                if is_link(value) and not self._is_cached(value[0]):
                    found.append(value[0])
                    links.append((value[0], node_id))
        for source, target in links:
            self._blocks[source][target] = None
            self._pending[target].add(source)

    def __bool__(self) -> bool:
        return bool(self._pending)

    def next(self) -> str:
        """A ready node: an output before one that leads to an output directly, before one that does in two links."""
        ready = [node_id for node_id, blockers in self._pending.items() if not blockers]
        for rank in (self._is_output, self._precedes_output, self._precedes_output_by_two):
            for node_id in ready:
                if rank(node_id):
                    return node_id
        return ready[0]

    def finish(self, node_id: str) -> None:
        del self._pending[node_id]
        for target in self._blocks.pop(node_id):
            self._pending[target].discard(node_id)

    def _precedes_output(self, node_id: str) -> bool:
        return any(self._is_output(target) for target in self._blocks[node_id])

    def _precedes_output_by_two(self, node_id: str) -> bool:
        return any(self._precedes_output(target) for target in self._blocks[node_id])
