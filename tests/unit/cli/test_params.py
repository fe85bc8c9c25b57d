"""-p KEY=VALUE: the schema says what a value is, not its looks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.params import check_known, split_pairs, typed_params
from orchestrator.errors import InvalidRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TYPE_OF = {
    type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object",
}  # fmt: skip


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("property_schema", "text", "value"),
    [
        ({"type": "string"}, "42", "42"),
        ({"type": "string"}, "", ""),
        ({"type": "integer"}, "42", 42),
        ({"type": "number"}, "42", 42),
        ({"type": "number"}, "4.5", 4.5),
        ({"type": "boolean"}, "true", True),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": ["integer", "string"]}, "42", 42),
        ({"type": ["integer", "string"]}, "many", "many"),
        ({"type": ["string", "null"]}, "null", None),
        ({"enum": ["euler", "1"]}, "1", "1"),
        ({"enum": [512, 1024]}, "512", 512),
        ({"const": True}, "true", True),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, "1", "1"),
        ({"allOf": [{"type": ["integer", "string"]}, {"type": "string"}]}, "1", "1"),
        ({"$ref": "#/$defs/steps"}, "8", 8),
        ({}, "8", 8),
        ({}, "eight", "eight"),
        (True, "[1]", [1]),
    ],
)
def test_a_value_is_what_the_schema_says(property_schema: Any, text: str, value: object) -> None:
    document = schema(key=property_schema) | {"$defs": {"steps": {"type": "integer"}}}
    typed = typed_params(document, {"key": text})["key"]
    assert typed == value
    assert type(typed) is type(value)


@pytest.mark.parametrize(
    ("property_schema", "text", "says"),
    [
        ({"type": "integer"}, "many", "key takes integer, not 'many'"),
        ({"type": "integer"}, "true", "key takes integer, not 'true'"),
        ({"type": "integer"}, "4.5", "key takes integer, not '4.5'"),
        ({"type": ["boolean", "null"]}, "1", "key takes boolean or null, not '1'"),
        ({"type": "number"}, "NaN", "key takes number, not 'NaN'"),
        ({"type": "number"}, "1e999", "key takes number, not '1e999'"),
    ],
)
def test_a_value_of_no_allowed_type_is_refused(property_schema: Any, text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        typed_params(schema(key=property_schema), {"key": text})


@given(JSON)
def test_json_of_the_declared_type_arrives_as_it_is(value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    assert typed_params(schema(key={"type": TYPE_OF[type(value)]}), {"key": text}) == {"key": value}


def test_an_unknown_param_names_the_nearest() -> None:
    with pytest.raises(InvalidRequest, match=r"no param promt; did you mean prompt\?"):
        check_known(schema(prompt={}, seed={}), ["promt"])
    with pytest.raises(InvalidRequest, match="no param zzz; it has prompt, seed"):
        check_known(schema(prompt={}, seed={}), ["zzz"])


def test_an_open_schema_takes_any_param() -> None:
    assert typed_params(schema() | {"additionalProperties": True}, {"more": "1"}) == {"more": 1}


def test_pairs_are_split_at_the_first_equals_sign() -> None:
    assert split_pairs("-p", ["prompt=a=b", "seed=1", "empty="]) == {"prompt": "a=b", "seed": "1", "empty": ""}


@pytest.mark.parametrize("pair", ["prompt", "=x", ""])
def test_what_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(InvalidRequest, match="write it as -p KEY=VALUE"):
        split_pairs("-p", [pair])


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="seed= is given twice"):
        split_pairs("-p", ["seed=1", "seed=2"])
