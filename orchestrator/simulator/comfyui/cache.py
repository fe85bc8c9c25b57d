"""ComfyUI's node cache: a node whose own inputs and whose ancestors' are unchanged is not executed again.

The key of a node says its class, its widgets and how it hangs together with its ancestors, but not their ids: the same
graph numbered otherwise hits as well.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.simulator.comfyui.values import Guider, Model

Key = Hashable

RESULTS_KEPT = 512
"""Enough for any graph to be found again, and a bound on our memory."""


@dataclass(frozen=True)
class CachedResult:
    """What a node gave: its outputs, and what it showed (None when it is not an output node)."""

    outputs: tuple[object, ...]
    shown: Mapping[str, Any] | None
    loads: frozenset[int]
    """Model readings that the outputs refer to."""


def is_link(value: object) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )


def loads_of(outputs: tuple[object, ...]) -> frozenset[int]:
    models = [output.model if isinstance(output, Guider) else output for output in outputs]
    return frozenset(part.load for model in models if isinstance(model, Model) for part in model.weights)


def signatures(prompt: Mapping[str, Any], fingerprint: Callable[[str], object]) -> dict[str, Key]:
    """The cache key of every node; fingerprint(node_id) is ComfyUI's IS_CHANGED."""
    fingerprints = {node_id: fingerprint(node_id) for node_id in prompt}
    return {node_id: _signature(prompt, node_id, fingerprints) for node_id in prompt}


def _signature(prompt: Mapping[str, Any], node_id: str, fingerprints: Mapping[str, object]) -> Key:
    ancestors: dict[str, int] = {}
    _order_ancestors(prompt, node_id, ancestors)
    return tuple(_own_signature(prompt, each, fingerprints, ancestors) for each in (node_id, *ancestors))


def _own_signature(
    prompt: Mapping[str, Any], node_id: str, fingerprints: Mapping[str, object], ancestors: Mapping[str, int]
) -> Key:
    if node_id not in prompt:  # a dangling link of a node that no good output needs
        return float("nan")
    inputs = tuple(
        (name, ("ancestor", ancestors[value[0]], value[1]) if is_link(value) else _hashable(value))
        for name, value in sorted(prompt[node_id]["inputs"].items())
    )
    return prompt[node_id]["class_type"], _hashable(fingerprints[node_id]), inputs


def _order_ancestors(prompt: Mapping[str, Any], node_id: str, order: dict[str, int]) -> None:
    if node_id not in prompt:
        return
    for _, value in sorted(prompt[node_id]["inputs"].items()):
        if is_link(value) and value[0] not in order:
            order[value[0]] = len(order)
            _order_ancestors(prompt, value[0], order)


def _hashable(value: object) -> Hashable:
    if isinstance(value, dict):
        return tuple((key, _hashable(each)) for key, each in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(_hashable(each) for each in value)
    return value if isinstance(value, Hashable) else repr(value)


class NodeCache:
    """Results by key, the least recently used forgotten first."""

    def __init__(self, alive: Callable[[Collection[int]], bool]) -> None:
        self._alive = alive
        self._results: OrderedDict[Key, CachedResult] = OrderedDict()
        self._keys: Mapping[str, Key] = {}

    def begin(self, keys: Mapping[str, Key], keep_old: bool) -> None:
        """Take the keys of a new prompt, and keep what earlier ones gave only if asked or if it is named again."""
        self._keys = keys
        if not keep_old:
            wanted = set(keys.values())
            self._results = OrderedDict((key, result) for key, result in self._results.items() if key in wanted)

    def get(self, node_id: str) -> CachedResult | None:
        """None also when a model that the result refers to has left memory."""
        key = self._keys[node_id]
        result = self._results.get(key)
        if result is None or not self._alive(result.loads):
            return None
        self._results.move_to_end(key)
        return result

    def set(self, node_id: str, result: CachedResult) -> None:
        key = self._keys[node_id]
        self._results[key] = result
        self._results.move_to_end(key)
        while len(self._results) > max(RESULTS_KEPT, len(self._keys)):
            self._results.popitem(last=False)

    def clear(self) -> None:
        self._results.clear()

    def loads(self) -> frozenset[int]:
        return frozenset[int]().union(*(result.loads for result in self._results.values()))
