"""What is refused, in the words and shapes of ComfyUI. Pure: from what went wrong to the document that tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.controller.postings import Dropped, Refused
from orchestrator.errors import FleetError
from orchestrator.graph.shape import title

Document = dict[str, Any]

_TYPES: Mapping[str, str] = {"missing_model": "value_not_in_list", "unknown_file": "custom_validation_failed"}
_MESSAGES: Mapping[str, str] = {
    "bad_linked_input": "Bad linked input, must be a length-2 list of [node_id, slot_index]",
    "custom_validation_failed": "Custom validation failed for node",
    "dependency_cycle": "Dependency cycle detected",
    "invalid_input_type": "Failed to convert an input value to its type",
    "required_input_missing": "Required input is missing",
    "return_type_mismatch": "Return type mismatch between linked nodes",
    "value_bigger_than_max": "Value bigger than max",
    "value_not_in_list": "Value not in list",
    "value_smaller_than_min": "Value smaller than min",
}
_WHOLE = {
    "prompt_no_outputs": "Prompt has no outputs",
    "prompt_outputs_failed_validation": "Prompt outputs failed validation",
}


def incomplete(prompt: Any) -> Document | None:
    """What ComfyUI sees before it looks at a node: there is none, or one without a class."""
    nodes: dict[str, Any] = prompt if isinstance(prompt, dict) else {}
    if prompt == {}:
        return told("prompt_no_outputs", _WHOLE["prompt_no_outputs"])
    for node_id, node in nodes.items():
        if isinstance(node, dict) and "class_type" not in node:
            name = title(node)
            message = f"Node '{name or f'ID #{node_id}'}' has no class_type. "
            return told(
                "missing_node_type", message + "The workflow may be corrupted or a custom node is missing.",
                f"Node ID '#{node_id}'", node_id=node_id, class_type=None, node_title=name,
            )  # fmt: skip
    return None


def told(kind: str, message: str, details: str = "", **extra_info: Any) -> Document:
    """The answer of POST /prompt to what it does not take."""
    return {"error": _error(kind, message, details, **extra_info), "node_errors": {}}


def refusal(refused: Refused) -> Document:
    """Why nothing of a prompt can execute."""
    error, dropped = refused.error, refused.dropped
    problems = error.details.get("node_errors") or []
    kinds = {problem["code"]: problem for problem in reversed(problems)}
    if missing := kinds.get("missing_node_type"):
        node = dropped.graph[missing["node_id"]]
        name = title(node) or node["class_type"]
        return told(
            "missing_node_type", f"Node '{name}' not found. {missing['message']}", f"Node ID '#{missing['node_id']}'",
            node_id=missing["node_id"], class_type=node["class_type"], node_title=name,
        )  # fmt: skip
    if "prompt_no_outputs" in kinds:
        return told("prompt_no_outputs", _WHOLE["prompt_no_outputs"], kinds["prompt_no_outputs"]["message"])
    if not problems:
        return told(error.code, error.message, str(error.details.get("pointer", "")), **error.details)
    details = "\n".join(f"{_message(problem)}: {problem['message']}" for problem in dropped.problems)
    kind = "prompt_outputs_failed_validation"
    return {"error": _error(kind, _WHOLE[kind], details), "node_errors": node_errors(dropped)}


def node_errors(dropped: Dropped) -> Document:
    """By node, what is wrong with it and which outputs are left out for it."""
    found: Document = {}
    for problem in dropped.problems:
        node_id = problem.get("node_id")
        if node_id is None:
            continue
        entry = found.setdefault(
            node_id,
            {"errors": [], "dependent_outputs": dropped.dependent(node_id), "class_type": problem["class_type"]},
        )
        entry["errors"].append(_problem(dropped, problem))
    return found


def plain(error: FleetError) -> Document:
    """Anything else that went wrong."""
    return told(error.code, error.message, **{key: value for key, value in error.details.items() if key != "pointer"})


def _error(kind: str, message: str, details: str, **extra_info: Any) -> Document:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def _problem(dropped: Dropped, problem: Mapping[str, Any]) -> Document:
    name = problem.get("input")
    extra: Document = {} if name is None else {"input_name": name}
    if name is not None and name in (inputs := dropped.graph[problem["node_id"]]["inputs"]):
        extra["received_value"] = inputs[name]
    return _error(_kind(problem), _message(problem), problem["message"], **extra)


def _kind(problem: Mapping[str, Any]) -> str:
    return _TYPES.get(problem["code"], problem["code"])


def _message(problem: Mapping[str, Any]) -> str:
    if "min" in problem:
        return f"Value smaller than min of {problem['min']}"
    if "max" in problem:
        return f"Value bigger than max of {problem['max']}"
    return _MESSAGES.get(_kind(problem), problem["message"])
