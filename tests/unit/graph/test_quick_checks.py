"""The quick checks of every submission never say yes where the thorough ones say no."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orchestrator.errors import InvalidRequest
from orchestrator.graph.params import Schema
from orchestrator.graph.shape import MAX_DEPTH, unsound

SCHEMAS = sorted((Path(__file__).parents[3] / "params").glob("*.schema.json"))

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
surrogates = st.sampled_from(["\ud800", "a\udfff"])


@given(values | surrogates | st.dictionaries(surrogates | st.integers(), scalars, min_size=1))
def test_what_is_sound_travels_as_json(document: Any) -> None:
    if unsound(document) is None:
        text = json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
        back = json.loads(text)
        assert back == document
        assert all(-(2**63) <= number < 2**64 for number in numbers(back))
    else:
        assert not plain(document)


def numbers(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [value] if type(value) is int else []


def plain(value: Any) -> bool:
    """Said once more, as simply as it can be."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(key) for key in value) and all(map(plain, value.values()))
    if isinstance(value, list):
        return all(map(plain, value))
    if isinstance(value, str):
        return not any(0xD800 <= ord(letter) <= 0xDFFF for letter in value)
    if type(value) is int:
        return -(2**63) <= value < 2**64
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(("depth", "sound"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_depth_is_bounded(depth: int, sound: bool) -> None:
    document: Any = 1
    for _ in range(depth):
        document = [document]
    assert (unsound(document) is None) is sound


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: file.name.removesuffix(".schema.json"))
def test_params_that_are_taken_fit_the_schema(file: Path) -> None:
    document = json.loads(file.read_text())
    schema, judge = Schema(document), Draft202012Validator({**document, "additionalProperties": False})
    known = {name: st.just(said["default"]) for name, said in document["properties"].items() if "default" in said}
    named = {name: known.get(name, st.nothing()) | scalars for name in document["properties"]}

    @given(st.fixed_dictionaries({}, optional={**named, "stranger": scalars}))
    def check(params: dict[str, Any]) -> None:
        try:
            completed = schema.complete(params)
        except InvalidRequest:
            return
        assert judge.is_valid(completed)

    check()


def test_no_pattern_takes_for_ever_on_what_a_caller_chose() -> None:
    schema = Schema({"properties": {"a": {"type": "string", "pattern": "^(a+)+$", "default": "a"}}})
    assert schema.complete({"a": "aa"}) == {"a": "aa"}
    started = time.perf_counter()
    with pytest.raises(InvalidRequest, match="must match the pattern"):
        schema.complete({"a": "a" * 40 + "!"})
    assert time.perf_counter() - started < 1  # Python's own regular expressions would take a day


@pytest.mark.parametrize("pattern", [r"^(?P<x>a)(?P=x)$", r"a\Z"])
def test_a_pattern_that_only_python_knows_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match="ECMA 262") as refused:
        Schema({"properties": {"a": {"type": "string", "pattern": pattern, "default": "aa"}}})
    assert refused.value.details["pointer"] == "/properties/a/pattern"
