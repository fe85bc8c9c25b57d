"""JSON at the boundary: what passes is what was written, and each refusal has its own code and place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.controller.strict_json import MAX_DEPTH, loads
from orchestrator.errors import InvalidRequest

numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
documents = st.recursive(
    st.none() | st.booleans() | numbers | text, lambda inner: st.lists(inner) | st.dictionaries(text, inner)
)


@given(documents)
def test_what_is_valid_passes_unchanged(document: object) -> None:
    assert loads(json.dumps(document).encode()) == document


@given(documents, documents, text)
def test_a_repeated_key_is_found_wherever_it_is(before: object, after: object, key: str) -> None:
    raw = json.dumps([before, {"x": after}])
    raw = f'{raw[:-1]}, {{"in": {{{json.dumps(key)}: 1, {json.dumps(key)}: 2}}}}]'
    with pytest.raises(InvalidRequest) as refused:
        loads(raw.encode())
    escaped = key.replace("~", "~0").replace("/", "~1")
    assert (refused.value.code, refused.value.details["pointer"]) == ("duplicate_key", f"/2/in/{escaped}")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"  \n", "invalid_json"),
        (b'{"a": 1', "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": Infinity}', "invalid_json"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "invalid_json"),
        (b'{"a": 1e999}', "invalid_json"),
        (b'{"a": "\\ud800"}', "invalid_json"),
        (b'{"a": "\xff"}', "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b"{'a': 1}", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "json_too_deep"),
        (b'{"a": {"b": "x\\u0000y"}}', "nul_character"),
        (b'{"a\\u0000": 1}', "nul_character"),
        (b'{"a": 1, "a": 1}', "duplicate_key"),
        (b'{"a": 1, "\\u0061": 2}', "duplicate_key"),
    ],
)
def test_each_refusal_has_its_code(raw: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        loads(raw)
    assert refused.value.code == code
    assert len(refused.value.message) < 300


def test_the_place_of_a_nul_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        loads(b'{"params": {"prompt": ["a", "b\\u0000"]}}')
    assert refused.value.details == {"pointer": "/params/prompt/1"}


@pytest.mark.parametrize(
    "raw", [b'"\\\\u0000"', b'{"a": "b: c: d", "e": {"a": 1}}', b"[" * MAX_DEPTH + b"]" * MAX_DEPTH]
)
def test_what_only_looks_wrong_passes(raw: bytes) -> None:
    assert loads(raw) == json.loads(raw)
