"""Takes in a document that should hold a graph, whatever it turns out to be: the edge where hostile input stops.

Three formats are met in the wild. ComfyUI's API format is the one that executes. The typed-node format
({"nodes": {id: {"class_type", "inputs": [{"name", "type", "value", "required"}]}}}) is converted to it. The format that
ComfyUI's editor saves lacks what widgets mean, so it is refused, and the message says how to export the other one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import InvalidRequest
from orchestrator.graph.shape import Graph, is_link, is_list, is_object, kind_of, pointer, show, unsound

_UI_KEYS = ("last_node_id", "last_link_id")
_WRAPPERS = ("prompt", "workflow")


def parse(document: object) -> Graph:
    """The graph in a decoded JSON document, in API format.

    What wraps a graph in the body of ComfyUI's own POST /prompt, {"prompt": {...}}, is taken off.
    Raises InvalidRequest("workflow_format_ui") for what ComfyUI's editor saves and InvalidRequest("invalid_workflow")
    for anything else; details["pointer"] leads to the place in the document.
    """
    if found := unsound(document):
        raise _invalid(found[1], found[0])
    content, at = _unwrap(_object(document, "a workflow", ()))
    if _is_ui_export(content):
        raise InvalidRequest(
            "workflow_format_ui",
            "this is the format that ComfyUI's editor saves, which cannot be executed: "
            'in ComfyUI choose "Workflow > Export (API)" and send that file instead',
            pointer=pointer(*at),
        )
    if _is_typed(content):
        content, at = _object(content["nodes"], "nodes", (*at, "nodes")), (*at, "nodes")
    if not content:
        raise _invalid("a workflow needs at least one node", pointer(*at))
    return {node_id: _node(node, (*at, node_id)) for node_id, node in content.items()}


def _invalid(message: str, where: str) -> InvalidRequest:
    return InvalidRequest("invalid_workflow", f"{where or 'the workflow'}: {message}", pointer=where)


def _object(value: Any, what: str, at: tuple[str, ...]) -> Mapping[str, Any]:
    if not is_object(value):
        raise _invalid(f"{what} must be an object, not {kind_of(value)}", pointer(*at))
    return value


def _is_node(value: Any) -> bool:
    return is_object(value) and "class_type" in value


def _unwrap(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    for key in _WRAPPERS:
        inner = document.get(key)
        if is_object(inner) and not _is_node(inner):
            return inner, (key,)
    return document, ()


def _is_ui_export(document: Mapping[str, Any]) -> bool:
    return is_list(document.get("nodes")) or any(key in document and not _is_node(document[key]) for key in _UI_KEYS)


def _is_typed(document: Mapping[str, Any]) -> bool:
    return "nodes" in document and not _is_node(document["nodes"])


def _node(node: Any, at: tuple[str, ...]) -> dict[str, Any]:
    """One node with what executes and what its author said about it, and without the rest."""
    fields = _object(node, "a node", at)
    class_type = fields.get("class_type")
    if not isinstance(class_type, str) or not class_type:
        lack = "has no class_type" if class_type is None else f"has {kind_of(class_type)} as its class_type"
        raise _invalid(f"the node {lack}; it must name a node class, such as KSampler", pointer(*at))
    inputs = fields.get("inputs", {})
    if is_list(inputs):
        inputs = _typed_inputs(inputs, (*at, "inputs"))
    inputs = _object(inputs, "inputs", (*at, "inputs"))
    parsed = {"class_type": class_type, "inputs": {name: _plain(value) for name, value in inputs.items()}}
    meta = _object(fields.get("_meta") or {}, "_meta", (*at, "_meta"))
    if not isinstance(meta.get("title", ""), str):
        raise _invalid("a title must be a string", pointer(*at, "_meta", "title"))
    return {**parsed, "_meta": meta} if meta else parsed


def _plain(value: Any) -> Any:
    """ComfyUI lets any value be wrapped, and unwraps it; only lists need it, as a bare list is a link."""
    if is_object(value) and not isinstance(value.get("__value__", []), list | dict):
        return value["__value__"]
    return value


def _typed_inputs(entries: list[Any], at: tuple[str, ...]) -> dict[str, Any]:
    """Inputs of the typed-node format: those without a value are dropped when they are optional."""
    inputs: dict[str, Any] = {}
    for position, entry in enumerate(entries):
        here = (*at, str(position))
        fields = _object(entry, "a typed input", here)
        name, value = fields.get("name"), fields.get("value")
        if not isinstance(name, str) or not name:
            raise _invalid("a typed input needs a name", pointer(*here))
        if name in inputs:
            raise _invalid(f"the input {show(name)} is given twice", pointer(*here))
        if value is not None:
            inputs[name] = _typed_value(value)
        elif fields.get("required"):
            raise _invalid(f"the input {show(name)} is required and has no value", pointer(*here))
    return inputs


def _typed_value(value: Any) -> Any:
    """ComfyUI takes a bare list for a link; one that is a value has to be wrapped to stay one."""
    return {"__value__": value} if is_list(value) and not is_link(value) else value
