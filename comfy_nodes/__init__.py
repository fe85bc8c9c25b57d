"""comfyfleet's node pack: what this ComfyUI holds and is made of, for the fleet to see.

It adds two read-only routes to ComfyUI's server and no nodes. The folder may have any name in custom_nodes, so imports
are relative; outside a running ComfyUI importing it does nothing.
"""

from __future__ import annotations

from typing import Any

from .routes import install

NODE_CLASS_MAPPINGS: dict[str, Any] = {}

__all__ = ["NODE_CLASS_MAPPINGS"]

install()
