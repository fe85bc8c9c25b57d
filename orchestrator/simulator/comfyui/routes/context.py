"""What the routes of one simulated ComfyUI share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.simulator.comfyui.executor import Executor
from orchestrator.simulator.comfyui.faults import Fault, Kind
from orchestrator.simulator.comfyui.nodes import NodeClasses
from orchestrator.simulator.comfyui.queue import PromptQueue
from orchestrator.simulator.comfyui.run import Machine
from orchestrator.simulator.comfyui.sockets import Sockets


@dataclass
class Sim:
    machine: Machine
    classes: NodeClasses
    queue: PromptQueue
    sockets: Sockets
    executor: Executor
    number: int = 0
    """The next prompt's place in the queue."""

    def fail(self, faults: Iterable[Fault]) -> None:
        """Have it fail in these ways from now on. Raises BadFault."""
        self.machine.faults.add(faults)
        self.refresh()

    def heal(self) -> None:
        """Have it fail no more."""
        self.machine.faults.clear()
        self.refresh()

    def refresh(self) -> None:
        """See what is missing by request."""
        missing = self.machine.faults.standing
        classes = frozenset(fault.name for fault in missing(Kind.MISSING_CLASS))
        models = frozenset(fault.name for fault in missing(Kind.MISSING_MODEL))
        self.classes.leave_out(classes, models)

    def features(self) -> dict[str, Any]:
        """What ComfyUI says that it supports, over HTTP and to a socket that asks."""
        features: dict[str, Any] = {
            "supports_preview_metadata": True,
            "max_upload_size": self.machine.config.max_upload_bytes,
        }
        if self.machine.config.profile.jobs_api:
            features |= {
                "supports_model_type_tags": True,
                "extension": {"manager": {"supports_v4": True}},
                "node_replacements": True,
                "assets": False,
            }
        return features
