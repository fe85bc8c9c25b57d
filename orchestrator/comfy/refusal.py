"""Why a ComfyUI did not take a prompt, as an error that says what to do. Pure.

What was submitted had been checked against what the workers of the pool offer, so something that is missing here is
missing on this worker: the run goes elsewhere. Everything else is wrong with the graph.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.comfy.answers import Problem, Refusal
from orchestrator.errors import FleetError, Permanent, Retryable
from orchestrator.graph.loaders import looks_like_model

_NO_SUCH_NODE = re.compile(r"node (\S+) does not exist")  # how versions before missing_node_type said it
_SAID_MAX = 1000  # a cycle is told with every node in it


def explain(refusal: Refusal, url: str) -> FleetError:
    """Retryable elsewhere for a missing class, model or option; Permanent otherwise. `details` has node_errors."""
    details: dict[str, Any] = {"node_errors": dict(refusal.node_errors)}
    class_type = refusal.class_type or _class_in(refusal.message)
    if class_type and refusal.type in ("missing_node_type", "invalid_prompt"):
        return Retryable(
            "missing_class",
            f"{url} has no node class {class_type}: install its node pack there and restart ComfyUI",
            node_id=refusal.node_id,
            class_type=class_type,
            **details,
        )
    problems = refusal.problems
    if problems and all(problem.type == "value_not_in_list" for problem in problems):
        return _missing_value(problems[0], url, details)
    first = problems[0] if problems else None
    where = f" of node {first.node_id} ({first.class_type})" if first else ""
    said = ": ".join(filter(None, (first.message, first.details) if first else (refusal.message, refusal.details)))
    return Permanent(
        "invalid_prompt",
        f"ComfyUI refuses the graph because{where} {said[:_SAID_MAX] or 'of something that it does not name'}",
        node_id=first.node_id if first else refusal.node_id,
        class_type=(first and first.class_type) or refusal.class_type,
        **details,
    )


def too_large(url: str) -> Retryable:
    """For an answer of 413."""
    return Retryable(
        "too_large_for_worker",
        f"{url} takes no body of this size: start its ComfyUI with a larger --max-upload-size, or send smaller inputs",
    )


def _missing_value(problem: Problem, url: str, details: Mapping[str, Any]) -> Retryable:
    is_model = looks_like_model(problem.value)
    what = f"no model file {problem.value}" if is_model else f"no {problem.value!r} to choose"
    advice = "put it into its models folder" if is_model else "update its ComfyUI or its node pack"
    return Retryable(
        "missing_model" if is_model else "missing_option",
        f"{url} has {what} for {problem.class_type}.{problem.input} (node {problem.node_id}): {advice}",
        node_id=problem.node_id,
        class_type=problem.class_type,
        value=problem.value,
        **details,
    )


def _class_in(message: str) -> str | None:
    found = _NO_SUCH_NODE.search(message)
    return found.group(1) if found else None
