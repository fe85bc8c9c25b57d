"""-p KEY=VALUE, typed by the workflow's schema and not by how the value looks: a prompt of "42" stays text. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.errors import InvalidRequest
from orchestrator.graph.values import nearest

_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,), "number": (int, float), "boolean": (bool,), "null": (type(None),),
    "array": (list,), "object": (dict,), "string": (str,),
}  # fmt: skip
_ANY = frozenset(_TYPES)


def split_pairs(option: str, pairs: Iterable[str]) -> dict[str, str]:
    """["a=1", "b=x=y"] -> {"a": "1", "b": "x=y"}; raises InvalidRequest for what has no "=" or comes twice."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InvalidRequest("bad_option", f"{option} {pair}: write it as {option} KEY=VALUE")
        if key in found:
            raise InvalidRequest("bad_option", f"{option} {key}= is given twice; keep one")
        found[key] = value
    return found


def typed_params(schema: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """The values as the schema types them. Bounds and the like are the fleet's to check; it names them better."""
    check_known(schema, values)
    properties: Mapping[str, Any] = schema.get("properties", {})
    return {key: _typed(key, value, _allowed(schema, properties.get(key, True))) for key, value in values.items()}


def check_known(schema: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raises InvalidRequest for a param that the workflow does not have, naming the nearest one that it has."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    if schema.get("additionalProperties", False) is not False:
        return
    for key in keys:
        if key not in properties:
            like = nearest(key, list(properties), 1)
            hint = f"did you mean {like[0]}?" if like else f"it has {', '.join(properties) or 'none'}"
            raise InvalidRequest("unknown_param", f"the workflow has no param {key}; {hint}")


def _allowed(root: Mapping[str, Any], schema: Any) -> frozenset[str]:
    """The JSON types that the schema lets through."""
    if not isinstance(schema, Mapping):
        return _ANY
    allowed = _ANY
    if (declared := schema.get("type")) is not None:
        allowed &= {declared} if isinstance(declared, str) else set(declared)
    if (values := schema.get("enum", [schema["const"]] if "const" in schema else None)) is not None:
        allowed &= {name for name in _TYPES for value in values if _is(value, name)}
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            allowed &= frozenset().union(*(_allowed(root, branch) for branch in schema[keyword]))
    for branch in schema.get("allOf", ()):
        allowed &= _allowed(root, branch)
    if (target := _local(root, schema.get("$ref"))) is not None:
        allowed &= _allowed(root, target)
    return allowed


def _local(root: Mapping[str, Any], ref: str | None) -> Any:
    if ref is None or not ref.startswith("#/"):
        return None
    node: Any = root
    for part in ref[2:].split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def _is(value: Any, name: str) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False  # json reads NaN and 1e999; JSON has neither
    return isinstance(value, _TYPES[name]) and isinstance(value, bool) == (name == "boolean")


def _typed(key: str, text: str, allowed: frozenset[str]) -> Any:
    """Text that is no JSON of an allowed type is a string where strings are allowed."""
    if allowed == {"string"}:
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if any(_is(value, name) for name in allowed):
        return value
    if "string" in allowed:
        return text
    raise InvalidRequest("bad_param", f"{key} takes {' or '.join(sorted(allowed)) or 'nothing'}, not {text!r}")
