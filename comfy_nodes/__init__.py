"""comfyfleet's node pack: what this ComfyUI holds and is made of, and what its pictures are worth.

It adds two read-only routes to ComfyUI's server, and nodes that score images. The folder may have any name in
custom_nodes, so imports are relative; outside a running ComfyUI importing it does nothing.
"""

from __future__ import annotations

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from .routes import install

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

install()
