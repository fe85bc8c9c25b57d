"""Says what ComfyUI would refuse in a graph before it is queued, and all of it at once.

ComfyUI's own check (validate_prompt in its execution.py) is the measure: every node's class must be known, and whatever
an output node hangs on must be linked and filled properly; nodes that no output needs are not looked at further. It
differs where ComfyUI would run a part of a graph and drop the rest: here one bad output refuses the graph.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import InvalidRequest
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.problems import MAX_PROBLEMS, Problem, at_input, at_node, refuse
from orchestrator.graph.scorers import OF_THE_PACK
from orchestrator.graph.shape import Graph, is_link, is_list, label, pointer, show, sources
from orchestrator.graph.specs import Inputs, InputSpec
from orchestrator.graph.values import fault_of, links_to, nearest, type_name

_ESCAPES = re.compile(r"^[\\/]|^[A-Za-z]:|(?:^|[\\/])\.\.(?:[\\/]|$)|[\x00-\x1f]")

_NO_INPUTS = Inputs({})


def validate(graph: Graph, catalog: Catalog, outputs: Sequence[str] = ()) -> None:
    """Checks a parsed graph against what workers offer; `outputs` names the output nodes that are wanted (all of them
    when empty).

    Raises InvalidRequest("invalid_workflow") with `pointer` and `node_errors`, or InvalidRequest("unknown_output") with
    a pointer to the name in `outputs`.
    """
    check = _Check(graph, catalog)
    check.classes()
    edges: dict[str, list[str]] = {}
    waiting = check.roots(outputs)
    while waiting and len(check.problems) < MAX_PROBLEMS:
        node_id = waiting.pop()
        if node_id not in edges:
            edges[node_id] = found = check.node(node_id)
            waiting.extend(found)
    check.finish(edges)


def check_structure(graph: Graph) -> None:
    """Checks what can be known of a parsed graph without a catalog: its links and its file names.

    Raises InvalidRequest("invalid_workflow") with `pointer` and `node_errors`.
    """
    check = _Check(graph, Catalog({}))
    edges: dict[str, list[str]] = {}
    for node_id, node in graph.items():
        if len(check.problems) >= MAX_PROBLEMS:
            break
        for name, value in node["inputs"].items():
            if is_link(value):
                check.target(node_id, name, value)
        check.prefix(node_id)
        edges[node_id] = [source for source in sources(node) if source in graph]
    check.finish(edges)


def find_cycle(edges: Mapping[str, Iterable[str]]) -> list[str] | None:
    """Node ids around one cycle, the first again at the end; None when there is none. Any depth of graph will do."""
    done: set[str] = set()
    for start in edges:
        path: dict[str, None] = {}  # ordered, and quick to look up
        stack = [(start, iter(edges[start]))] if start not in done else []
        while stack:
            node_id, children = stack[-1]
            path[node_id] = None
            child = next((child for child in children if child not in done), None)
            if child is None:
                done.add(node_id)
                del path[node_id]
                stack.pop()
            elif child in path:
                around = list(path)
                return [*around[around.index(child) :], child]
            else:
                stack.append((child, iter(edges.get(child, ()))))
    return None


@dataclass(frozen=True, slots=True)
class _Check:
    """Collects what is wrong with one graph."""

    graph: Graph
    catalog: Catalog
    problems: list[Problem] = field(default_factory=list[Problem])

    def classes(self) -> None:
        known = self.catalog.classes
        for node_id, node in self.graph.items():
            class_type = node["class_type"]
            if class_type not in known and len(self.problems) < MAX_PROBLEMS:
                told = f"is of a class that no worker has; {_class_hint(class_type, known)}"
                self._at_node(node_id, "missing_node_type", told)

    def roots(self, outputs: Sequence[str]) -> list[str]:
        """The output nodes that are wanted."""
        known, found = self.catalog.classes, self.catalog.output_nodes(self.graph)
        for position, node_id in enumerate(outputs):
            if node_id not in self.graph:
                self._refuse_output(position, f"there is no node {show(node_id)} in the graph", found)
            if node_id not in found and self.graph[node_id]["class_type"] in known:
                self._refuse_output(position, f"{label(self.graph, node_id)} is not an output node", found)
        if not found and not self.problems:
            message = "the graph has no output node, so nothing would come of it: add one, such as SaveImage"
            self.problems.append(Problem("prompt_no_outputs", message, ""))
        return [node_id for node_id in found if node_id in outputs] if outputs else found

    def node(self, node_id: str) -> list[str]:
        """Judges the inputs of a node; answers the nodes that it hangs on."""
        node = self.graph[node_id]
        values: Mapping[str, Any] = node["inputs"]
        spec = self.catalog.classes.get(node["class_type"])
        inputs = spec.inputs.given(values) if spec else _NO_INPUTS
        links: list[str] = []
        for name, value in values.items():
            wanted = inputs.specs.get(name)
            if is_list(value):
                if self._link(node_id, name, value, wanted):
                    links.append(value[0])
            elif wanted is not None and (fault := fault_of(wanted, value)):
                self._at_input(node_id, name, fault.code, fault.message, **fault.details)
        for name in inputs.required:
            if name not in values:
                message = f"is missing: it is required, and takes {type_name(inputs.specs[name].type)}"
                self._at_input(node_id, name, "required_input_missing", message)
        self.prefix(node_id)
        return links

    def target(self, node_id: str, name: str, link: list[Any]) -> bool:
        """Whether a link leads to a node."""
        if link[0] in self.graph:
            return True
        message = f"is linked to node {show(link[0])}, which is not in the graph"
        self._at_input(node_id, name, "bad_linked_input", message)
        return False

    def prefix(self, node_id: str) -> None:
        prefix = self.graph[node_id]["inputs"].get("filename_prefix")
        if isinstance(prefix, str) and _ESCAPES.search(prefix):
            advice = 'use a relative path without ".." and without control characters'
            message = f"is {show(prefix)}, which could leave the output folder: {advice}"
            self._at_input(node_id, "filename_prefix", "unsafe_path", message)

    def finish(self, edges: Mapping[str, list[str]]) -> None:
        """Raises what was collected, in the order of the graph's nodes."""
        if cycle := find_cycle(edges):
            way = " -> ".join(label(self.graph, node_id) for node_id in cycle[:10])
            self._at_node(cycle[0], "dependency_cycle", f"hangs on itself: {way}", cycle=cycle[:MAX_PROBLEMS])
        if self.problems:
            order = {node_id: position for position, node_id in enumerate(self.graph)}
            refuse(sorted(self.problems, key=lambda problem: order.get(problem.node_id or "", -1)))

    def _link(self, node_id: str, name: str, value: list[Any], wanted: InputSpec | None) -> bool:
        """Judges a list, which ComfyUI takes for a link; answers whether it leads to a node."""
        if not is_link(value):
            if wanted is not None:
                message = 'is a list, which ComfyUI takes for a link: write ["node id", slot], or {"__value__": [...]}'
                self._at_input(node_id, name, "bad_linked_input", message)
            return False
        if not self.target(node_id, name, value):
            return False
        giver = self.catalog.classes.get(self.graph[value[0]]["class_type"])
        if wanted is None or giver is None:
            return True
        slot = value[1]
        if type(slot) is not int or not 0 <= slot < len(giver.outputs):
            offers = ", ".join(f"{at} {type_name(each)}" for at, each in enumerate(giver.outputs)) or "none"
            message = f"is linked to output {show(slot)} of {label(self.graph, value[0])}, whose outputs are: {offers}"
            self._at_input(node_id, name, "bad_linked_input", message)
        elif not links_to(giver.outputs[slot], wanted.type):
            given, takes = type_name(giver.outputs[slot]), type_name(wanted.type)
            message = f"takes {takes}, but output {slot} of {label(self.graph, value[0])} gives {given}"
            details = {"received_type": given, "input_type": takes}
            self._at_input(node_id, name, "return_type_mismatch", message, **details)
        return True

    def _refuse_output(self, position: int, why: str, found: Sequence[str]) -> None:
        message = f"outputs names what cannot be delivered: {why}; the output nodes are {', '.join(found) or 'none'}"
        raise InvalidRequest("unknown_output", message, pointer=pointer("outputs", position), allowed=list(found))

    def _at_node(self, node_id: str, code: str, message: str, **details: Any) -> None:
        self.problems.append(at_node(self.graph, node_id, code, message, **details))

    def _at_input(self, node_id: str, name: str, code: str, message: str, **details: Any) -> None:
        self.problems.append(at_input(self.graph, node_id, name, code, message, **details))


def _class_hint(class_type: str, known: Collection[str]) -> str:
    if class_type in OF_THE_PACK:
        return "a gate needs comfyfleet's comfy_nodes: link them into a worker's custom_nodes, and restart it"
    like = nearest(class_type, list(known), 1)
    return f"did you mean {like[0]}?" if like else "install the node pack that has it, or replace the node"
