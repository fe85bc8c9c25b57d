"""What the routes of one simulated ComfyUI share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.simulator.comfyui.executor import Executor
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

    def features(self) -> dict[str, Any]:
        """What ComfyUI says that it supports, over HTTP and to a socket that asks."""
        features: dict[str, Any] = {"supports_preview_metadata": True, "max_upload_size": 100 * 1024 * 1024}
        if self.machine.config.profile.jobs_api:
            features |= {
                "supports_model_type_tags": True,
                "extension": {"manager": {"supports_v4": True}},
                "node_replacements": True,
                "assets": False,
            }
        return features
