"""What a caller may set of a workflow: its JSON Schema (2020-12), compiled once, and used for every submission.

The schema is closed: a param that it does not name is refused unless it says `additionalProperties` or
`unevaluatedProperties` itself. Defaults are applied, and a seed that nobody chose is drawn, so that the completed
params say exactly what was run.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import jsonschema_rs
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend as _extend  # pyright: ignore[reportUnknownVariableType]
from referencing import Registry
from referencing.exceptions import Unresolvable

from orchestrator.domain.workflow import Binding, ParamKind
from orchestrator.errors import InvalidRequest
from orchestrator.graph.explain import explain
from orchestrator.graph.shape import is_list, is_object, kind_of, pointer, show, unsound

SEED_INPUTS = frozenset({"seed", "noise_seed"})
MAX_SEED = (1 << 53) - 1  # what every JSON reader keeps exact; ComfyUI takes 64 bits
_MAX_ERRORS = 20
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000)
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_APPLICATORS = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"})
_NO_DEFAULT = object()


@dataclass(frozen=True, slots=True)
class _Default:
    """What to put where a property is missing, and into the object that it holds."""

    name: str
    value: Any
    inner: tuple[_Default, ...]


class Schema:
    """A compiled params schema."""

    def __init__(self, schema: object) -> None:
        """Raises InvalidRequest("invalid_schema") with a pointer into the schema."""
        self.document: Mapping[str, Any] = _checked(schema)
        self.properties: Mapping[str, Any] = self.document.get("properties", {})
        # An empty registry: a schema stands for itself, and fetches nothing.
        self._validator: Any = _Validator(_closed(self.document), registry=Registry())
        self._defaults = tuple(_defaults(self.document))
        _check_references(self._validator, self.document)
        self._surely_valid = _quick_check(_closed(self.document))  # by now no reference leads out of it
        self._check_defaults(self.document, ())

    def complete(self, params: object, draws: Mapping[str, int] | None = None) -> dict[str, Any]:
        """The params with defaults, and with those of `draws` (see `seeds`) that are still missing.

        Raises InvalidRequest("invalid_params") with `pointer` and `errors`, each naming what is allowed.
        """
        if not is_object(params):
            raise InvalidRequest("invalid_params", f"params must be an object, not {kind_of(params)}", pointer="")
        if found := unsound(params):
            raise InvalidRequest("invalid_params", f"params{found[0]}: {found[1]}", pointer=found[0])
        completed = {**(draws or {}), **_filled(params, self._defaults)}
        errors = [] if self._surely_valid(completed) else self._errors(self._validator, completed, "params")
        if errors:
            first, more = errors[0], len(errors) - 1
            told = f" (and {more} more, see errors)" if more else ""
            raise InvalidRequest("invalid_params", first["message"] + told, pointer=first["pointer"], errors=errors)
        return completed

    def defaults(self) -> dict[str, Any]:
        """What is put where a caller leaves everything out."""
        return _filled({}, self._defaults)

    def seeds(self, bind: Mapping[str, Binding]) -> dict[str, tuple[int, int]]:
        """The params to draw when a caller leaves them out, each with the least and the greatest integer to draw.

        They are those bound to a seed that may be left out and have no default.
        """
        required = self.document.get("required", ())
        drawn: dict[str, tuple[int, int]] = {}
        for name, binding in bind.items():
            said = self.properties.get(name)
            is_seed = any(input_name in SEED_INPUTS for _, input_name in binding.inputs)
            if is_seed and name not in required and is_object(said) and "default" not in said and (span := _span(said)):
                drawn[name] = span
        return drawn

    def span(self, name: str) -> tuple[int, int] | None:
        """The least and the greatest integer that can be drawn for a param; None where it does not take them all."""
        said = self.properties.get(name)
        return _span(said) if is_object(said) else None

    def objection(self, name: str, value: object) -> str | None:
        """Why a param may not have that value, in words; None if it may."""
        errors = self._errors(self._validator.evolve(schema=self.properties[name]), value, name)
        return errors[0]["message"] if errors else None

    def check_bind(self, bind: Mapping[str, Binding]) -> None:
        """Raises InvalidRequest("invalid_binding") when schema and bindings do not name the same params.

        details["document"] says which of the two the pointer leads into: "bind" or "params".
        """
        for name, binding in bind.items():
            if name not in self.properties:
                message = f"bind{pointer(name)}: the params schema has no property {show(name)}; add it, or remove this"
                raise InvalidRequest("invalid_binding", message, pointer=pointer(name), document="bind")
            self._check_kind(name, binding)
        for name in self.properties:
            if name not in bind:
                where = pointer("properties", name)
                message = f"params{where}: {show(name)} is bound to no input; bind it, or remove it from the schema"
                raise InvalidRequest("invalid_binding", message, pointer=where, document="params")

    def _check_kind(self, name: str, binding: Binding) -> None:
        said = self.properties[name].get("type") if is_object(self.properties[name]) else None
        if binding.kind is ParamKind.VALUE or said is None or said == "string" or (is_list(said) and "string" in said):
            return
        where = pointer("properties", name, "type")
        message = (
            f"params{where}: {name} is bound as kind {binding.kind}, so it holds an asset's id: its type is string"
        )
        raise InvalidRequest("invalid_binding", message, pointer=where, document="params")

    def _errors(self, validator: Any, instance: Any, whole: str) -> list[dict[str, Any]]:
        try:
            errors: list[ValidationError] = list(validator.iter_errors(instance))
        except RecursionError:
            return [{"pointer": "", "message": f"{whole} is nested too deep for the schema"}]
        return [found for error in errors[:_MAX_ERRORS] for found in explain(error, whole)]

    def _check_defaults(self, schema: Mapping[str, Any], at: tuple[str, ...]) -> None:
        """Refuses a default that its own schema refuses."""
        for name, said in schema.get("properties", {}).items():
            if not is_object(said):
                continue
            here = (*at, "properties", name)
            if "default" in said:
                value = _with_inner(said["default"], tuple(_defaults(said)))
                errors = self._errors(self._validator.evolve(schema=said), value, "it")
                if errors:
                    message = f"the default of {name} fails its own schema: {errors[0]['message']}"
                    raise _invalid(message, *here, "default")
            self._check_defaults(said, here)


def _checked(schema: object) -> Mapping[str, Any]:
    """The schema, if it is one of an object of params."""
    if not is_object(schema):
        raise _invalid(f"a params schema must be an object, not {kind_of(schema)}")
    if found := unsound(schema):
        raise InvalidRequest("invalid_schema", f"params{found[0]}: {found[1]}", pointer=found[0])
    if str(schema.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        raise _invalid(f'write "$schema": "{DIALECT}", or leave it out', "$schema")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise _invalid(f"not JSON Schema 2020-12: {show(error.message, 200)}", *error.absolute_path) from error
    if schema.get("type", "object") != "object":
        raise _invalid('params are an object: write "type": "object"', "type")
    return schema


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "additionalProperties" in schema or "unevaluatedProperties" in schema:
        return dict(schema)
    # Properties that a part of the schema names elsewhere are seen by the slower of the two keywords alone.
    keyword = "additionalProperties" if _APPLICATORS.isdisjoint(schema) else "unevaluatedProperties"
    return {**schema, keyword: False}


def _quick_check(schema: dict[str, Any]) -> Callable[[Any], bool]:
    """Says yes to valid params in microseconds. What it says no to, the slow validator explains, or lets pass."""
    try:
        return jsonschema_rs.validator_for(schema, pattern_options=_PATTERNS).is_valid
    except jsonschema_rs.ValidationError as error:
        message = f"{error.message}: write it as ECMA 262 has regular expressions"
        raise _invalid(message, *error.instance_path) from None


@lru_cache(1024)
def _matcher(pattern: str) -> Callable[[Any], bool]:
    return jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=_PATTERNS).is_valid


def _match(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """The keyword `pattern` without Python's own regular expressions: those can take for ever on a text that a caller
    chooses, and everything else waits meanwhile."""
    if isinstance(instance, str) and not _matcher(pattern)(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator = cast("type[Draft202012Validator]", _extend(Draft202012Validator, {"pattern": _match}))


def _check_references(validator: Any, schema: Mapping[str, Any]) -> None:
    """Refuses references that lead out of the schema, nowhere, or in a circle."""
    for reference, at in _references(schema, ()):
        if not reference.startswith("#"):
            raise _invalid(f"the schema must stand alone: {show(reference)} leads out of it, copy it to $defs", *at)
        try:
            list(validator.evolve(schema={"$ref": reference}).iter_errors({}))
        except Unresolvable as error:
            raise _invalid(f"{show(reference)} leads to nothing in this schema", *at) from error
        except RecursionError as error:
            raise _invalid(f"{show(reference)} leads back to itself", *at) from error


def _references(part: Any, at: tuple[str | int, ...]) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    if is_object(part):
        for key, inner in part.items():
            if key in ("$ref", "$dynamicRef") and isinstance(inner, str):
                yield inner, (*at, key)
            elif key not in ("default", "const", "enum", "examples"):  # values, not schemas
                yield from _references(inner, (*at, key))
    elif is_list(part):
        for position, inner in enumerate(part):
            yield from _references(inner, (*at, position))


def _defaults(schema: Mapping[str, Any]) -> Iterator[_Default]:
    for name, said in schema.get("properties", {}).items():
        if is_object(said):
            inner = tuple(_defaults(said))
            if "default" in said or inner:
                yield _Default(name, said.get("default", _NO_DEFAULT), inner)


def _filled(given: Mapping[str, Any], defaults: Sequence[_Default]) -> dict[str, Any]:
    """A copy in which what is missing has its default; objects that were not given are not made up."""
    filled = dict(given)
    for default in defaults:
        if default.name not in filled and default.value is not _NO_DEFAULT:
            filled[default.name] = copy.deepcopy(default.value)
        if default.inner and default.name in filled:
            filled[default.name] = _with_inner(filled[default.name], default.inner)
    return filled


def _with_inner(value: Any, inner: Sequence[_Default]) -> Any:
    return _filled(value, inner) if inner and is_object(value) else value


def _span(said: Mapping[str, Any]) -> tuple[int, int] | None:
    """The integers that a property takes, as far as they can be drawn evenly."""
    if said.get("type") != "integer" or not {"enum", "const", "multipleOf"}.isdisjoint(said):
        return None
    low = max(0, said.get("minimum", 0), said.get("exclusiveMinimum", -1) + 1)
    high = min(MAX_SEED, said.get("maximum", MAX_SEED), said.get("exclusiveMaximum", MAX_SEED + 1) - 1)
    return (math.ceil(low), math.floor(high)) if math.ceil(low) <= math.floor(high) else None


def _invalid(message: str, *at: str | int) -> InvalidRequest:
    where = pointer(*at)
    return InvalidRequest("invalid_schema", f"params{where}: {message}", pointer=where)
