"""Why a ComfyUI did not take a prompt, as an error that says what to do. Pure.

What was submitted had been checked against what the workers of the pool offer, so something that is missing here is
missing on this worker: the run goes elsewhere. Everything else is wrong with the graph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.comfy.answers import Refusal
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
    problems = list(_problems(refusal.node_errors))
    absent = [problem for problem in problems if problem["type"] == "value_not_in_list"]
    if absent and len(absent) == len(problems):
        return _missing_value(absent[0], url, details)
    first = problems[0] if problems else {}
    where = f" of node {first['node_id']} ({first['class_type']})" if first else ""
    said = ": ".join(filter(None, (first.get("message", refusal.message), first.get("details", refusal.details))))
    said = said[:_SAID_MAX] or "of something that it does not name"
    return Permanent(
        "invalid_prompt",
        f"ComfyUI refuses the graph because{where} {said}",
        node_id=first.get("node_id") or refusal.node_id,
        class_type=first.get("class_type") or refusal.class_type,
        **details,
    )


def too_large(url: str) -> Retryable:
    """For an answer of 413."""
    return Retryable(
        "too_large_for_worker",
        f"{url} takes no body of this size: start its ComfyUI with a larger --max-upload-size, or send smaller inputs",
    )


def _missing_value(problem: Mapping[str, Any], url: str, details: Mapping[str, Any]) -> Retryable:
    value = problem["value"]
    is_model = looks_like_model(value)
    what = f"no model file {value}" if is_model else f"no {value!r} to choose"
    advice = "put it into its models folder" if is_model else "update its ComfyUI or its node pack"
    return Retryable(
        "missing_model" if is_model else "missing_option",
        f"{url} has {what} for {problem['class_type']}.{problem['input']} (node {problem['node_id']}): {advice}",
        node_id=problem["node_id"],
        class_type=problem["class_type"],
        value=value,
        **details,
    )


def _problems(node_errors: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The problems that the report names, flat; what is not shaped as ComfyUI does it is passed over."""
    for node_id, report in node_errors.items():
        errors = report.get("errors") if isinstance(report, dict) else None
        for error in errors if isinstance(errors, list) else ():
            if not isinstance(error, dict):
                continue
            extra = error.get("extra_info")
            extra = extra if isinstance(extra, dict) else {}
            yield {
                "node_id": node_id,
                "class_type": report.get("class_type"),
                "type": error.get("type"),
                "message": str(error.get("message", "")),
                "details": str(error.get("details", "")),
                "input": extra.get("input_name"),
                "value": extra.get("received_value"),
            }


def _class_in(message: str) -> str | None:
    found = _NO_SUCH_NODE.search(message)
    return found.group(1) if found else None
