"""The /object_info of many workers as that of one: every class that one of them has, with every value that one offers.

Each class says under "comfyfleet" who has it, and, of values that only some of them offer, who does. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.graph.shape import is_list, is_object

MARK = "comfyfleet"
_STAGED = re.compile(r"[0-9a-f]{40}\.[a-z0-9]{1,8}")  # what we put into a worker's input folder ourselves

ObjectInfo = Mapping[str, Any]


def merged(by_worker: Mapping[str, ObjectInfo], uploaded: Sequence[str] = ()) -> dict[str, Any]:
    """`by_worker`: worker id -> its object_info; `uploaded`: names that inputs that take files offer as well."""
    classes: dict[str, list[str]] = {}
    for worker, info in by_worker.items():
        for name in info:
            classes.setdefault(name, []).append(worker)
    return {
        name: _class({worker: by_worker[worker][name] for worker in workers}, uploaded)
        for name, workers in classes.items()
    }


def _class(said: Mapping[str, Any], uploaded: Sequence[str]) -> Any:
    first = next(iter(said.values()))
    if not is_object(first):
        return first
    only: dict[str, dict[str, list[str]]] = {}
    inputs: dict[str, Any] = {}
    for category, entries in first.get("input", {}).items():
        inputs[category] = {} if is_object(entries) else entries
        for name, entry in entries.items() if is_object(entries) else ():
            others = {
                worker: found
                for worker, info in said.items()
                if is_object(info) and is_list(found := _entry(info, category, name))
            }
            offered, some = _input(entry, others, uploaded)
            inputs[category][name] = offered
            if some:
                only[name] = some
    mark = {"workers": list(said), **({"only_on": only} if only else {})}
    return {**first, "input": inputs, MARK: mark}


def _entry(info: Mapping[str, Any], category: str, name: str) -> Any:
    inputs = info.get("input")
    entries = inputs.get(category) if is_object(inputs) else None
    return entries.get(name) if is_object(entries) else None


def _input(entry: Any, others: Mapping[str, list[Any]], uploaded: Sequence[str]) -> tuple[Any, dict[str, list[str]]]:
    """An input with the values of all, and who has those that not all have."""
    if not is_list(entry) or not entry or _values(entry) is None:
        return entry, {}
    holders: dict[Any, list[str]] = {}
    for worker, other in others.items():
        for value in _values(other) or ():
            if isinstance(value, str | int | float):
                holders.setdefault(value, []).append(worker)
    is_file = any(key.endswith("_upload") and value for key, value in _settings(entry).items())
    if is_file:
        holders = {value: who for value, who in holders.items() if not _STAGED.fullmatch(str(value))}
    some = {str(value): who for value, who in holders.items() if len(who) < len(others)}
    values = [*holders, *(name for name in uploaded if is_file and name not in holders)]
    plain = all(isinstance(value, str | int | float) for value in _values(entry) or ())
    return (_with(entry, values), some) if plain else (entry, {})


def _settings(entry: Sequence[Any]) -> Mapping[str, Any]:
    return entry[1] if len(entry) > 1 and is_object(entry[1]) else {}


def _values(entry: Sequence[Any]) -> list[Any] | None:
    """Those of a combo, in the older and in the newer style."""
    if not entry:
        return None
    found = entry[0] if is_list(entry[0]) else _settings(entry).get("options") if entry[0] == "COMBO" else None
    return found if is_list(found) else None


def _with(entry: Sequence[Any], values: Iterable[Any]) -> list[Any]:
    if is_list(entry[0]):
        return [list(values), *entry[1:]]
    return [entry[0], {**_settings(entry), "options": list(values)}, *entry[2:]]
