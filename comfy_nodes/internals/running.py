"""What a node asks of the ComfyUI that runs it: whether it is to stop, and how to block what comes after it."""

from __future__ import annotations

from typing import Any

from . import Missing, is_a, module


def stop_if_interrupted() -> None:
    """Raises what ComfyUI raises, if somebody cancelled the run. Outside ComfyUI nobody can."""
    try:
        management = module("comfy.model_management")
    except Missing:
        return
    management.throw_exception_if_processing_interrupted()


def is_interruption(error: BaseException) -> bool:
    """In 0.3.64 it is an Exception like any other."""
    return is_a(error, "comfy.model_management", "InterruptProcessingException")


def blocked() -> Any:
    """An output: nodes that need it are skipped, silently, and nodes that need those."""
    return module("comfy_execution.graph_utils").ExecutionBlocker(None)
