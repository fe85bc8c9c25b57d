"""JSON as a boundary should read it: one document in, one value or one named refusal out.

orjson is strict about syntax, UTF-8, surrogates and numbers; what it lets pass (repeated keys, NUL in strings, and
nesting that would exhaust the stack of whoever walks the value) is refused here, at a cost of a few microseconds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from orchestrator.errors import InvalidRequest
from orchestrator.graph.shape import pointer

MAX_DEPTH = 100
MAX_VALUES = 100_000
"""Far more than the largest graphs that people send have. Every value but the first brings a comma, so that too many
are refused by counting those, before a second is spent on parsing and checking what is only there to be large."""


class _Repeated:
    """Stands in the parsed document for an object that names a key twice."""

    def __init__(self, key: str) -> None:
        self.key = key


def loads(raw: bytes) -> Any:
    """The value. Raises InvalidRequest: invalid_json, json_too_deep, too_many_values, duplicate_key, nul_character."""
    if raw.count(b",") > MAX_VALUES:
        raise InvalidRequest("too_many_values", f"more than {MAX_VALUES} values, by their commas: send less at once")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if not raw.strip():
            raise InvalidRequest("invalid_json", "the document is empty; send a JSON object") from None
        raise InvalidRequest("invalid_json", f"not valid JSON: {error}", line=error.lineno) from None
    keys, depth = _measure(value)
    if depth > MAX_DEPTH:
        raise InvalidRequest("json_too_deep", f"nested more than {MAX_DEPTH} levels deep; flatten the document")
    # Every key that is written brings one colon, and orjson keeps one of those that repeat: as many colons as kept
    # keys means that none repeats. More may be colons inside strings, or repeated keys: look closely.
    if raw.count(b":") != keys:
        _refuse_repeated(raw)
    if b"\\u0000" in raw:
        _refuse_nul(value)
    return value


def _measure(value: Any) -> tuple[int, int]:
    """How many keys its objects have, and how deep it nests."""
    keys = depth = 0
    level: list[Any] = [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                keys += len(item)
                item = item.values()
            elif type(item) is not list:
                continue
            for child in item:
                if type(child) is dict or type(child) is list:
                    below.append(child)
        level = below
    return keys, depth


def _refuse_repeated(raw: bytes) -> None:
    found: list[_Repeated] = []

    def unique(pairs: list[tuple[str, Any]]) -> Any:
        if len(kept := dict(pairs)) == len(pairs):
            return kept
        counts = Counter(key for key, _ in pairs)
        found.append(_Repeated(next(key for key, count in counts.items() if count > 1)))
        return found[-1]

    document = json.loads(raw, object_pairs_hook=unique)
    for place, value in _places(document) if found else ():
        if isinstance(value, _Repeated):
            raise InvalidRequest(
                "duplicate_key",
                f"{place or 'the document'} has the key {value.key!r} twice; keep one",
                pointer=place + pointer(value.key),
            )


def _refuse_nul(value: Any) -> None:
    for place, item in _places(value):
        inside = [item] if isinstance(item, str) else item if isinstance(item, dict) else ()
        if any("\0" in text for text in inside):
            raise InvalidRequest(
                "nul_character", f"{place or 'the document'} holds a NUL character; remove it", pointer=place
            )


def _places(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of the document with its pointer, outermost first."""
    yield place, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for token, child in children:
        yield from _places(child, place + pointer(token))
