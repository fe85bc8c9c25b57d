"""Says in words, and with a pointer, what a JSON Schema refused and what it allows instead.

The value itself is quoted only where it is short by nature: a prompt does not belong into a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jsonschema.exceptions import ValidationError

from orchestrator.graph.shape import is_list, is_object, kind_of, pointer, show
from orchestrator.graph.values import nearest

_SHOWN = 12

_TYPES = {
    "string": "a string", "integer": "an integer", "number": "a number", "boolean": "a boolean", "array": "a list",
    "object": "an object", "null": "null",
}  # fmt: skip

_SAYINGS: Mapping[str, Callable[[Any, Any], str]] = {
    "type": lambda allowed, value: f"must be {_types(allowed)}, not {kind_of(value)}",
    "enum": lambda allowed, value: f"must be {_one_of(allowed)}, not {show(value)}",
    "const": lambda allowed, value: f"must be {show(allowed)}, not {show(value)}",
    "minimum": lambda allowed, value: f"must be at least {allowed}, not {show(value)}",
    "maximum": lambda allowed, value: f"must be at most {allowed}, not {show(value)}",
    "exclusiveMinimum": lambda allowed, value: f"must be greater than {allowed}, not {show(value)}",
    "exclusiveMaximum": lambda allowed, value: f"must be less than {allowed}, not {show(value)}",
    "multipleOf": lambda allowed, value: f"must be a multiple of {allowed}, not {show(value)}",
    "minLength": lambda allowed, value: f"must have at least {allowed} characters, not {len(value)}",
    "maxLength": lambda allowed, value: f"must have at most {allowed} characters, not {len(value)}",
    "minItems": lambda allowed, value: f"must have at least {allowed} items, not {len(value)}",
    "maxItems": lambda allowed, value: f"must have at most {allowed} items, not {len(value)}",
    "uniqueItems": lambda _, __: "must not hold the same item twice",
    "pattern": lambda allowed, _: f"must match the pattern {show(allowed, 120)}",
}


def explain(error: ValidationError, whole: str) -> Iterator[dict[str, Any]]:
    """One entry {pointer, message, and allowed where it helps} for each value to change; `whole` names the instance."""
    keyword, allowed, value = str(error.validator), error.validator_value, error.instance
    at = tuple(error.absolute_path)
    if keyword == "required":
        for name in _named(error, _strings(allowed)):
            yield _entry(whole, (*at, name), "is required")
    elif keyword in ("additionalProperties", "unevaluatedProperties") and is_object(value):
        known = list(error.schema.get("properties", {})) if is_object(error.schema) else []
        for name in _named(error, list(value)):
            yield _entry(whole, (*at, name), f"is not known; {_suggest(name, known)}", known)
    elif keyword in _SAYINGS:
        yield _entry(whole, at, _SAYINGS[keyword](allowed, value), allowed)
    else:
        yield _entry(whole, at, f"does not satisfy {keyword}: {show(allowed, 120)}", allowed)


def _named(error: ValidationError, names: list[str]) -> list[str]:
    """Those of the names that the error is about: the library tells them in its message alone."""
    return [name for name in names if repr(name) in error.message]


def _entry(whole: str, at: tuple[str | int, ...], message: str, allowed: Any = None) -> dict[str, Any]:
    name = ".".join(map(str, at)) or whole
    entry = {"pointer": pointer(*at), "message": f"{name if len(name) <= 80 else show(name, 80)} {message}"}
    return entry if allowed is None else {**entry, "allowed": allowed}


def _types(allowed: Any) -> str:
    return " or ".join(_TYPES.get(name, name) for name in ([allowed] if isinstance(allowed, str) else allowed))


def _one_of(allowed: Any) -> str:
    shown = ", ".join(show(each) for each in allowed[:_SHOWN])
    return f"one of {shown}" + (f" and {len(allowed) - _SHOWN} more" if len(allowed) > _SHOWN else "")


def _suggest(name: str, known: list[str]) -> str:
    like = nearest(name, known, 1)
    return f"did you mean {like[0]}?" if like else f"there are {', '.join(known[:_SHOWN]) or 'none'}"


def _strings(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if is_list(value) else []
