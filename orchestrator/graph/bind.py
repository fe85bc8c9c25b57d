"""Bindings: which inputs of a graph a param goes to, and putting it there.

A binding names an input as "NODE.INPUT", the node by its id or as "@Title". Names are resolved once, when a workflow is
registered; patching then only copies the nodes that it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.domain.workflow import Binding, ParamKind
from orchestrator.errors import InvalidRequest
from orchestrator.graph.shape import Graph, asset, is_link, is_list, is_object, kind_of, label, pointer, show, title
from orchestrator.graph.values import nearest

_KEYS = frozenset({"input", "inputs", "kind"})


def resolve(graph: Graph, bind: Mapping[str, object]) -> dict[str, Binding]:
    """The `bind` section of a registration against its graph.

    A param is bound to "4.text", to a list of such, or to {"input" | "inputs": ..., "kind": "image"}.
    Raises InvalidRequest("invalid_binding") with a pointer into `bind`.
    """
    bindings = {param: _binding(graph, param, said) for param, said in bind.items()}
    owners: dict[tuple[str, str], str] = {}
    for param, binding in bindings.items():
        for node_id, name in binding.inputs:
            owner = owners.setdefault((node_id, name), param)
            if owner != param:
                raise _invalid(f"{name} of {label(graph, node_id)} is bound to {show(owner)} already", param)
    return bindings


def patch(graph: Graph, bind: Mapping[str, Binding], params: Mapping[str, Any]) -> Graph:
    """A graph with the params in their places; what is bound to no param given keeps its value. `graph` is unchanged.

    Raises InvalidRequest("invalid_params") for a list that ComfyUI would take for a link between nodes.
    """
    changed: dict[str, dict[str, Any]] = {}
    for param, binding in bind.items():
        if param not in params:
            continue
        value = _value(param, params[param], binding.kind)
        for node_id, name in binding.inputs:
            inputs = changed.get(node_id)
            if inputs is None:
                inputs = changed[node_id] = dict(graph[node_id]["inputs"])
            inputs[name] = value
    return {**graph, **{node_id: {**graph[node_id], "inputs": inputs} for node_id, inputs in changed.items()}}


def overlaid(graph: Graph, inputs: Mapping[str, Mapping[str, Any]]) -> Graph:
    """A graph in which some inputs have other values: node id -> input -> value. `graph` is unchanged."""
    changed = {
        node_id: {**graph[node_id], "inputs": {**graph[node_id]["inputs"], **values}}
        for node_id, values in inputs.items()
    }
    return {**graph, **changed}


def _value(param: str, value: Any, kind: ParamKind) -> Any:
    if kind is not ParamKind.VALUE:
        return asset(value)
    if is_link(value):
        message = f"{param} must not be text and a number, as ComfyUI takes such a list for a link between nodes"
        raise InvalidRequest("invalid_params", message, pointer=pointer(param))
    # Wrapped, so that what a caller sends is a value to ComfyUI whatever it looks like.
    return {"__value__": value} if is_list(value) or is_object(value) else value


def _binding(graph: Graph, param: str, said: object) -> Binding:
    if not is_object(said):
        return Binding(_inputs(graph, said, (param,)))
    if unknown := sorted(set(map(str, said)) - _KEYS):
        raise _invalid(f"unknown key {show(unknown[0])}; a binding has input or inputs, and kind", param, unknown[0])
    if ("input" in said) == ("inputs" in said):
        raise _invalid('give either input ("4.text") or inputs (a list of such)', param)
    key = "input" if "input" in said else "inputs"
    try:
        kind = ParamKind(said.get("kind", ParamKind.VALUE))
    except ValueError:
        kinds = ", ".join(ParamKind)
        raise _invalid(f"{show(said['kind'])} is not a kind of param; the kinds are {kinds}", param, "kind") from None
    return Binding(_inputs(graph, said[key], (param, key)), kind)


def _inputs(graph: Graph, said: object, at: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    if not is_list(said):
        return (_input(graph, said, at),)
    found = tuple(_input(graph, each, (*at, str(position))) for position, each in enumerate(said))
    if not found:
        raise _invalid('name at least one input, such as "4.text"', *at)
    if repeated := next((position for position, each in enumerate(found) if each in found[:position]), None):
        raise _invalid(f"{show(said[repeated])} is named twice", *at, str(repeated))
    return found


def _input(graph: Graph, said: object, at: tuple[str, ...]) -> tuple[str, str]:
    if not isinstance(said, str) or "." not in said:
        given = show(said) if isinstance(said, str) else kind_of(said)
        raise _invalid(f'name an input as "NODE.INPUT" or "@Title.INPUT", not as {given}', *at)
    # Ids, titles and the names of dynamic inputs may all hold dots, so the cut that finds an input is the one meant.
    nodes = [(node_id, name) for node, name in _cuts(said) for node_id in _named(graph, node, at)]
    found = [(node_id, name) for node_id, name in nodes if name in graph[node_id]["inputs"]]
    if not found:
        raise _missing(graph, said, nodes, at)
    node_id, name = found[0]
    value = graph[node_id]["inputs"][name]
    if is_link(value):
        message = (
            f"is bound to {name} of {label(graph, node_id)}, which is linked to node {value[0]}: bind an input there"
        )
        raise _invalid(message, *at)
    return node_id, name


def _cuts(name: str) -> Iterator[tuple[str, str]]:
    """The name cut at each of its dots, the last one first."""
    at = name.rfind(".")
    while at >= 0:
        yield name[:at], name[at + 1 :]
        at = name.rfind(".", 0, at)


def _named(graph: Graph, node: str, at: tuple[str, ...]) -> list[str]:
    """Ids of the node of that name: one, or none."""
    if not node.startswith("@"):
        return [node] if node in graph else []
    titled = [node_id for node_id in graph if title(graph[node_id]) == node[1:]]
    if len(titled) > 1:
        message = (
            f"{show(node)} could be any of the nodes {', '.join(titled)}: name one by its id, or give it another title"
        )
        raise _invalid(message, *at)
    return titled


def _missing(graph: Graph, said: str, nodes: list[tuple[str, str]], at: tuple[str, ...]) -> InvalidRequest:
    if nodes:
        node_id, name = nodes[0]
        inputs = graph[node_id]["inputs"]
        like = nearest(name, list(inputs)) or list(inputs)
        offers = ", ".join(show(each) for each in like[:10]) or "none"
        return _invalid(f"{label(graph, node_id)} has no input {show(name)}; it has {offers}", *at)
    node = said.rsplit(".", 1)[0]
    names = (
        [f"@{name}" for node_id in graph if (name := title(graph[node_id]))] if node.startswith("@") else list(graph)
    )
    like = nearest(node, names) or names
    return _invalid(f"there is no node {show(node)} in the graph; there are {', '.join(map(show, like[:10]))}", *at)


def _invalid(message: str, *at: str) -> InvalidRequest:
    where = pointer(*at)
    return InvalidRequest("invalid_binding", f"bind{where}: {message}", pointer=where)
