from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidRequest
from orchestrator.graph.parse import parse

TYPED = {
    "nodes": {
        "1": {
            "id": "1",
            "class_type": "EmptyImage",
            "inputs": [
                {"name": "width", "type": "INT", "value": 64, "required": True},
                {"name": "height", "type": "INT", "value": 64, "required": True},
                {"name": "color", "type": "INT", "required": False},
                {"name": "batch_size", "type": "INT", "value": None},
            ],
        },
        "2": {
            "class_type": "SaveImage",
            "inputs": [
                {"name": "images", "type": "IMAGE", "value": ["1", 0], "required": True},
                {"name": "corners", "type": "LIST", "value": [1, 2, 3]},
            ],
        },
    },
    "metadata": {"version": "1.0"},
}

UI_EXPORT = {
    "id": "0d1d6cf4-0000-4000-8000-000000000000",
    "last_node_id": 9,
    "last_link_id": 9,
    "nodes": [{"id": 9, "type": "SaveImage", "widgets_values": ["ComfyUI"]}],
    "links": [[9, 8, 0, 9, 0, "IMAGE"]],
    "version": 0.4,
}


def test_the_api_format_is_taken_as_it_is(text_to_image):
    assert parse(text_to_image) == text_to_image


def test_what_neither_executes_nor_names_a_node_is_dropped():
    node = {"class_type": "A", "inputs": {}, "is_changed": [True], "_meta": {}}
    assert parse({"1": node, "2": {"class_type": "B"}}) == {
        "1": {"class_type": "A", "inputs": {}},
        "2": {"class_type": "B", "inputs": {}},
    }


def test_the_body_of_a_prompt_request_is_unwrapped(text_to_image):
    assert parse({"prompt": text_to_image, "client_id": "me"}) == text_to_image


def test_a_node_may_be_called_like_a_wrapper():
    graph = {name: {"class_type": "A", "inputs": {}} for name in ("prompt", "workflow", "nodes", "last_node_id")}
    assert parse(graph) == graph


@pytest.mark.parametrize("wrap", [lambda typed: typed, lambda typed: {"workflow": typed}])
def test_the_typed_node_format_is_converted(wrap):
    assert parse(wrap(TYPED)) == {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "corners": {"__value__": [1, 2, 3]}}},
    }


@settings(deadline=None)
@given(data=st.data())
def test_the_typed_node_format_says_the_same_as_the_api_format(data, valid_graphs):
    graph = data.draw(valid_graphs)
    typed = {
        node_id: {
            "id": node_id,
            "class_type": node["class_type"],
            "inputs": [{"name": name, "type": "*", "value": value} for name, value in node["inputs"].items()],
        }
        for node_id, node in graph.items()
    }
    assert parse({"nodes": typed}) == parse(graph)


def test_a_wrapped_scalar_is_a_scalar():
    parsed = parse({"1": {"class_type": "A", "inputs": {"a": {"__value__": "x"}, "b": {"__value__": [1]}}}})
    assert parsed["1"]["inputs"] == {"a": "x", "b": {"__value__": [1]}}


@pytest.mark.parametrize("document", [UI_EXPORT, {"workflow": UI_EXPORT}, {"nodes": []}, {"last_node_id": 3}])
def test_an_export_of_the_editor_is_refused_by_name_and_says_what_to_do(document, refused):
    refusal = refused(parse, document)
    assert refusal.code == "workflow_format_ui"
    assert "Export (API)" in refusal.message


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (None, ""),
        ([], ""),
        ("{}", ""),
        ({}, ""),
        ({"nodes": {}}, "/nodes"),
        ({"nodes": 5}, "/nodes"),
        ({"1": None}, "/1"),
        ({"1": []}, "/1"),
        ({"1": {"inputs": {}}}, "/1"),
        ({"1": {"class_type": 7, "inputs": {}}}, "/1"),
        ({"1": {"class_type": "", "inputs": {}}}, "/1"),
        ({"a/b~c": {"class_type": "A", "inputs": 3}}, "/a~1b~0c/inputs"),
        ({"1": {"class_type": "A", "inputs": None}}, "/1/inputs"),
        ({"1": {"class_type": "A", "inputs": {}, "_meta": "x"}}, "/1/_meta"),
        ({"1": {"class_type": "A", "inputs": {}, "_meta": {"title": 3}}}, "/1/_meta/title"),
        ({"1": {"class_type": "A", "inputs": {"x": math.nan}}}, "/1/inputs/x"),
        ({"1": {"class_type": "A", "inputs": {"x": [0, -math.inf]}}}, "/1/inputs/x/1"),
        ({"1": {"class_type": "A", "inputs": {"x": 10**5000}}}, "/1/inputs/x"),
        ({"1": {"class_type": "A", "inputs": {"x": "\ud800"}}}, "/1/inputs/x"),
        ({"1": {"class_type": "A", "inputs": {"\udfff": 1}}}, "/1/inputs"),
        ({"1": {"class_type": "A", "inputs": {3: 1}}}, "/1/inputs"),
        ({"1": {"class_type": "A", "inputs": {"x": {1, 2}}}}, "/1/inputs/x"),
        ({"nodes": {"1": {"class_type": "A", "inputs": [3]}}}, "/nodes/1/inputs/0"),
        ({"nodes": {"1": {"class_type": "A", "inputs": [{"value": 3}]}}}, "/nodes/1/inputs/0"),
        ({"nodes": {"1": {"class_type": "A", "inputs": [{"name": "x", "required": True}]}}}, "/nodes/1/inputs/0"),
        (
            {"nodes": {"1": {"class_type": "A", "inputs": [{"name": "x", "value": 1}, {"name": "x", "value": 2}]}}},
            "/nodes/1/inputs/1",
        ),
    ],
)
def test_what_is_no_graph_is_refused_at_its_place(document, pointer, refused):
    refusal = refused(parse, document)
    assert (refusal.code, refusal.details["pointer"]) == ("invalid_workflow", pointer)


@pytest.mark.parametrize("depth", [65, 100_000])
def test_deep_nesting_is_refused_whatever_its_depth(depth, refused):
    value: Any = 1
    for _ in range(depth):
        value = [value]
    refusal = refused(parse, {"1": {"class_type": "A", "inputs": {"x": value}}})
    assert refusal.code == "invalid_workflow"
    while isinstance(value, list):  # so that freeing it does not recurse
        value = value.pop()


_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["1", "nodes", "links"])
)
_KEYS = st.text(max_size=3) | st.sampled_from(
    [
        "class_type",
        "inputs",
        "nodes",
        "prompt",
        "_meta",
        "title",
        "name",
        "value",
        "__value__",
        "__type",
        "last_node_id",
    ]
)
_JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4))


@settings(deadline=None)
@given(_JSON | st.dictionaries(_KEYS, st.fixed_dictionaries({"class_type": _JSON, "inputs": _JSON, "_meta": _JSON})))
def test_anything_is_parsed_or_refused_and_what_is_parsed_can_travel(document):
    try:
        graph = parse(document)
    except InvalidRequest as refusal:
        assert refusal.code in ("invalid_workflow", "workflow_format_ui")
        json.dumps({"message": refusal.message, **refusal.details}).encode()
    else:
        assert parse(json.loads(json.dumps(graph, allow_nan=False, ensure_ascii=False).encode())) == graph
