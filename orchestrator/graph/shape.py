"""The words of a graph that every module here uses: links, assets, titles, pointers, and who hangs on whom."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeGuard, cast

Graph: TypeAlias = Mapping[str, Any]
"""ComfyUI's API format: node id -> {"class_type": str, "inputs": {name: value}, "_meta"?: {"title"?: str}}."""

ASSET_TYPE = "core/ASSET"
MAX_DEPTH = 64
"""Nesting of a document beyond which it is refused, so that nothing after the edge needs to fear it."""

_WORDS = {
    "dict": "an object", "list": "a list", "str": "a string", "bool": "a boolean", "int": "an integer",
    "float": "a number", "NoneType": "null",
}  # fmt: skip


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def kind_of(value: Any) -> str:
    """What a JSON value is, as a sentence says it: "a string"."""
    word = type(value).__name__
    return _WORDS.get(word, f"a {word}")


def show(value: Any, limit: int = 60) -> str:
    """A value as a message quotes it: short, and on one line whatever it holds."""
    if isinstance(value, dict | list):
        return kind_of(value)
    text = f'"{value}"' if isinstance(value, str) else str(value)
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[: limit + 1])
    return text if len(text) <= limit else text[:limit] + "..."


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901) to that part of a document."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def is_link(value: Any) -> TypeGuard[list[Any]]:
    """Whether ComfyUI's executor takes the value for a link [node id, output slot]."""
    return is_list(value) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)


def asset(asset_id: str) -> dict[str, Any]:
    """The value that stands for an asset until the run is staged."""
    return {"__type": ASSET_TYPE, "info": {"id": asset_id}}


def is_asset(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether the value says that it stands for an asset, well-formed or not."""
    return is_object(value) and value.get("__type") == ASSET_TYPE


def asset_id(value: Mapping[str, Any]) -> str | None:
    """The id in a value that stands for an asset; None when it is malformed."""
    info = value.get("info")
    found = info.get("id") if is_object(info) else None
    return found if isinstance(found, str) and found else None


def title(node: Mapping[str, Any]) -> str | None:
    """What its author called the node."""
    meta = node.get("_meta")
    return meta.get("title") if is_object(meta) else None


def label(graph: Graph, node_id: str) -> str:
    """A node as a message names it: `node 5 (KSampler "Second pass")`."""
    node = graph[node_id]
    name = title(node)
    called = f" {show(name, 40)}" if name and name != node["class_type"] else ""
    return f"node {show(node_id, 40).strip(chr(34))} ({show(node['class_type'], 80).strip(chr(34))}{called})"


def sources(node: Mapping[str, Any]) -> Iterator[str]:
    """Ids of the nodes that it takes its inputs from."""
    return (value[0] for value in node["inputs"].values() if is_link(value))


def reachable(graph: Graph, roots: Iterable[str]) -> set[str]:
    """The roots and every node that they hang on: what executes when the roots are wanted."""
    seen = set(roots)
    waiting = list(seen)
    while waiting:
        for source in sources(graph[waiting.pop()]):
            if source not in seen and source in graph:
                seen.add(source)
                waiting.append(source)
    return seen


def unsound(document: Any) -> tuple[str, str] | None:
    """A part of a decoded JSON document that could not travel on as JSON, as (pointer, why); None if all of it can.

    Such parts are deep nesting, NaN and infinities, integers beyond 64 bits, text that is not Unicode, and keys that
    are not strings.
    """
    if _surely_sound(document):
        return None
    waiting: list[tuple[Any, _Path, int]] = [(document, None, 0)]
    while waiting:
        value, path, depth = waiting.pop()
        if is_object(value):
            why, children = _why_keys(value), value.items()
        elif is_list(value):
            why, children = None, enumerate(value)
        else:
            why, children = _why(value), ()
        if why is None and children and depth == MAX_DEPTH:
            why = f"nested deeper than {MAX_DEPTH} levels"
        if why:
            return _pointer_to(path), why
        waiting.extend((child, (path, key), depth + 1) for key, child in children)
    return None


def _surely_sound(document: Any) -> bool:
    """The same, without the places and in a quarter of the time: every submission comes by here. A no may be wrong."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            kind = cast("type[Any]", type(value))
            if kind is dict:
                below.extend(value.values())
                sound = all(type(key) is str and key.isascii() for key in value)
            elif kind is list:
                below.extend(value)
                continue
            else:
                sound = (kind is str and value.isascii()) or _why(value) is None
            if not sound:
                return False
        if not below:
            return True
        level = below
    return False


_Path: TypeAlias = tuple[Any, str | int] | None  # (the parent's path, key)


def _why(value: Any) -> str | None:
    """What is wrong with a scalar."""
    if isinstance(value, str):
        return None if value.isascii() or _is_unicode(value) else "text with a lone surrogate, which is not Unicode"
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -(1 << 63) <= value < 1 << 64 else "an integer beyond 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else "NaN or infinite, which JSON has no number for"
    return f"a {type(value).__name__}, which JSON does not have"


def _why_keys(value: Mapping[Any, Any]) -> str | None:
    if any(type(key) is not str for key in value):
        return "an object with a key that is not a string"
    return "an object with a key that is not Unicode" if any(_why(key) for key in value) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pointer_to(path: _Path) -> str:
    parts: list[str | int] = []
    while path is not None:
        path, key = path
        parts.append(key)
    return pointer(
        *(part.encode(errors="replace").decode() if isinstance(part, str) else part for part in reversed(parts))
    )
