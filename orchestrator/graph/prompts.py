"""Finds the text of a graph that says what to paint, and what not to.

Whether a prompt is the negative one, the graph itself tells: its conditioning reaches an input called `negative` of a
sampler or a guider. A title that says so comes first, and decides where nothing is linked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from orchestrator.graph.shape import Graph, is_link, title

# Inputs that hold a prompt in ComfyUI's many text encoders, and in the nodes that hand a text on to those.
_TEXTS = ("text", "prompt", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "llama", "bert", "mt5xl")
_HANDED_ON = ("value", "string", "text", "prompt", "wildcard_text")

_FORGETS = frozenset({"ConditioningZeroOut"})  # what it gives has nothing left of the prompt that it takes


class Polarity(Enum):
    POSITIVE = "positive"
    NEGATIVE = "negative"


def prompts(graph: Graph) -> dict[tuple[str, str], Polarity]:
    """The inputs (node id, name) that hold prompts, in the order of the graph's nodes."""
    reached = _reached(graph)
    found: dict[tuple[str, str], Polarity] = {}
    for node_id, node in graph.items():
        named = Polarity.NEGATIVE if "negative" in (title(node) or "").lower() else None
        polarity = named or reached.get(node_id)
        if polarity is not None or "TextEncode" in node["class_type"]:
            for place in _texts(graph, node_id):
                found.setdefault(place, polarity or Polarity.POSITIVE)
    return found


def _reached(graph: Graph) -> dict[str, Polarity]:
    """What becomes of each node's conditioning; positive where it becomes both."""
    reached: dict[str, Polarity] = {}
    for polarity in Polarity:
        waiting = [link for node in graph.values() for link in _taken(node, polarity)]
        seen: set[tuple[str, float]] = set()
        while waiting:
            source, slot = waiting.pop()
            if (source, slot) in seen or source not in graph or graph[source]["class_type"] in _FORGETS:
                continue
            seen.add((source, slot))
            reached.setdefault(source, polarity)
            waiting.extend(_passed_on(graph[source], slot))
    return reached


def _taken(node: Mapping[str, Any], polarity: Polarity) -> Iterator[tuple[str, float]]:
    """The links over which a node takes conditioning of that polarity."""
    names = [polarity.value]
    if polarity is Polarity.POSITIVE and "Guider" in node["class_type"]:
        names.append("conditioning")
    for name in names:
        if is_link(value := node["inputs"].get(name)):
            yield value[0], value[1]


def _passed_on(node: Mapping[str, Any], slot: float) -> Iterator[tuple[str, float]]:
    """The links from which a node makes the conditioning that it gives at that output."""
    inputs = node["inputs"]
    if "positive" in inputs and "negative" in inputs:  # it takes both, and gives each at its own output
        names = ["negative" if slot == 1 else "positive"]
    elif any(name in inputs for name in _TEXTS):  # it makes its own
        names = []
    else:
        names = [name for name in inputs if name.startswith("conditioning")]
    for name in names:
        if is_link(value := inputs[name]):
            yield value[0], value[1]


def _texts(graph: Graph, node_id: str) -> Iterator[tuple[str, str]]:
    """The inputs that hold the text of an encoder: its own, or those of the node that hands it the text."""
    for name in _TEXTS:
        value = graph[node_id]["inputs"].get(name)
        if isinstance(value, str):
            yield node_id, name
        elif is_link(value) and value[0] in graph:
            giver = graph[value[0]]["inputs"]
            held = [each for each in _HANDED_ON if isinstance(giver.get(each), str)]
            if len(held) == 1:
                yield value[0], held[0]
