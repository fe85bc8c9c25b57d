"""How long each node of a prompt took, by when ComfyUI said that it began. Pure.

ComfyUI executes one node after the other, and names each as it begins: until the next one is named, or the prompt is
over, the time is that node's. What a node expands into is its own. Nodes that were cached are not named.
"""

from __future__ import annotations

from orchestrator.comfy.protocol import Event, Executing

NEGLIGIBLE_S = 0.0005


class NodeTimes:
    """Of one prompt."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._node: str | None = None
        self._since = 0.0

    def hear(self, event: Event, now: float) -> None:
        """An event of the prompt, at that moment of a clock that only rises."""
        if not isinstance(event, Executing):
            return
        if self._node is not None:
            self._seconds[self._node] = self._seconds.get(self._node, 0.0) + now - self._since
        self._node, self._since = event.node, now

    def seconds(self) -> dict[str, float]:
        """By node id, of those that are over and took some time."""
        return {node: round(spent, 4) for node, spent in self._seconds.items() if spent >= NEGLIGIBLE_S}
