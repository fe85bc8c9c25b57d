"""Every access of this pack to ComfyUI's internals; the rest of it knows only the plain data that comes from here.

Written against ComfyUI 0.3.64 and 0.33.0; where the two differ a comment says so. Modules are taken from sys.modules
and never imported: they are there once ComfyUI loads custom nodes, and elsewhere (in a test, in another program) this
raises Missing instead of starting half a ComfyUI. Any other exception means that an internal changed.
"""

from __future__ import annotations

import sys
from typing import Any


class Missing(Exception):
    """Something that a report wants is not there; says what."""


def module(name: str) -> Any:
    """A module of ComfyUI's process."""
    found = sys.modules.get(name)
    if found is None:
        raise Missing(f"the module {name} is not loaded")
    return found


def is_a(value: Any, module_name: str, class_name: str) -> bool:
    """Whether a value is an instance of a class, which need not exist."""
    kind = getattr(sys.modules.get(module_name), class_name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def server() -> Any:
    """ComfyUI's PromptServer: .routes is a RouteTableDef, .app the application that it will serve."""
    instance = getattr(module("server").PromptServer, "instance", None)
    if instance is None:
        raise Missing("ComfyUI's server was not made")
    return instance
