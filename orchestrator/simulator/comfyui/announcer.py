"""What one prompt says while it is executed: to its client over the websocket, and to history afterwards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from orchestrator.simulator.comfyui.messages import Message
from orchestrator.simulator.comfyui.queue import Item
from orchestrator.simulator.comfyui.run import Preview
from orchestrator.simulator.comfyui.sockets import Sockets


class Announcer:
    """Messages in ComfyUI's words. Progress of a prompt without a client goes to everybody; the rest to nobody.

    They leave whenever a node is about to run or has made a step, and at the end.
    """

    def __init__(self, item: Item, sockets: Sockets) -> None:
        self._prompt_id = item.prompt_id
        self._sockets = sockets
        self._nodes: dict[str, dict[str, Any]] = {}
        self.client_id: str | None = item.extra_data.get("client_id")
        self.history: list[tuple[str, dict[str, Any]]] = []
        """What status.messages of the history entry will be."""
        self.last_node_id: str | None = None
        """What a client that connects anew is told."""

    def tell(self, event: str, data: Mapping[str, Any], *, everyone: bool = False) -> None:
        """Say something that history keeps."""
        stamped = {"prompt_id": self._prompt_id, **data, "timestamp": int(time.time() * 1000)}
        self.history.append((event, stamped))
        if self.client_id is not None or everyone:
            self._post(event, stamped)

    def executing(self, node_id: str) -> None:
        if self.client_id is not None:
            self.last_node_id = node_id
            self._post("executing", {"node": node_id, "display_node": node_id, "prompt_id": self._prompt_id})
        self._sockets.flush()

    def executed(self, node_id: str, output: Mapping[str, Any] | None) -> None:
        if self.client_id is not None:
            about = {"node": node_id, "display_node": node_id}
            self._post("executed", {**about, "output": output, "prompt_id": self._prompt_id})

    def ended(self) -> None:
        """The last message of a prompt, when it is already in history."""
        if self.client_id is not None:
            self._post("executing", {"node": None, "prompt_id": self._prompt_id})
        self._sockets.flush()

    def started(self, node_id: str) -> None:
        self._state(node_id, "running", 0.0, 1.0)

    def finished(self, node_id: str) -> None:
        maximum = self._nodes[node_id]["max"] if node_id in self._nodes else 1
        self._state(node_id, "finished", maximum, maximum)

    def progress(self, node_id: str, value: int, maximum: int, preview: Preview | None) -> None:
        """A step of a node; a preview goes in the form that the client said it understands."""
        self._state(node_id, "running", value, maximum)
        with_metadata = self._sockets.supports(self.client_id, "supports_preview_metadata")
        if preview is not None and with_metadata:
            self._post("preview", self._identity(node_id), preview)
        self._post("progress", {"value": value, "max": maximum, "prompt_id": self._prompt_id, "node": node_id})
        if preview is not None and not with_metadata:
            self._post("preview", {}, preview)
        self._sockets.flush()

    def _state(self, node_id: str, state: str, value: float, maximum: float) -> None:
        self._nodes[node_id] = {"value": value, "max": maximum, "state": state, **self._identity(node_id)}
        self._post("progress_state", {"prompt_id": self._prompt_id, "nodes": dict(self._nodes)})

    def _identity(self, node_id: str) -> dict[str, Any]:
        return {
            "node_id": node_id,
            "prompt_id": self._prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }

    def _post(self, event: str, data: Mapping[str, Any], preview: Preview | None = None) -> None:
        self._sockets.post(Message(event, data, self.client_id, preview))
