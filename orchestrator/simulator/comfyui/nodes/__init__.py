"""Node classes: importing this package registers them all."""

from orchestrator.simulator.comfyui.nodes import (
    conditioning,
    images,
    latents,
    load_image,
    loaders,
    masks,
    quality,
    sampling,
    save,
    text,
)
from orchestrator.simulator.comfyui.nodes.registry import NodeClass, NodeClasses, Shown

__all__ = [
    "NodeClass",
    "NodeClasses",
    "Shown",
    "conditioning",
    "images",
    "latents",
    "load_image",
    "loaders",
    "masks",
    "quality",
    "sampling",
    "save",
    "text",
]
