"""Nodes that pass plain values on, and the one that shows them."""

from __future__ import annotations

import json

from orchestrator.simulator.comfyui.nodes.registry import Shown, node
from orchestrator.simulator.comfyui.run import Run


@node("PrimitiveInt", "PrimitiveFloat", "PrimitiveString", "PrimitiveStringMultiline", "PrimitiveBoolean")
def primitive(run: Run, value: object) -> tuple[object]:
    return (value,)


@node("StringConcatenate")
def string_concatenate(run: Run, string_a: str, string_b: str, delimiter: str) -> tuple[str]:
    return (delimiter.join((string_a, string_b)),)


@node("PreviewAny")
def preview_any(run: Run, source: object = None) -> Shown:
    if source is None:
        text = "None"
    elif isinstance(source, str):
        text = source
    elif isinstance(source, int | float):
        text = str(source)
    else:
        text = json.dumps(source, indent=4, ensure_ascii=False, default=repr)
    return Shown((text,), {"text": (text,)})
