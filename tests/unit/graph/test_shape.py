from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.graph.shape import is_link, label, pointer, reachable, show


@given(st.text() | st.integers() | st.floats() | st.lists(st.integers()) | st.none())
def test_a_shown_value_is_short_and_on_one_line(value):
    shown = show(value, 20)
    assert len(shown) <= 23
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("value", "linked"),
    [(["1", 0], True), (["1", 0.0], True), ([1, 0], False), (["1", "0"], False), (["1"], False), ("1", False)],
)
def test_a_link_is_what_comfyui_takes_for_one(value, linked):
    assert is_link(value) is linked


def test_pointers_escape_what_they_must():
    assert pointer("a/b", "c~d", 3) == "/a~1b/c~0d/3"
    assert pointer() == ""


def test_a_node_is_named_by_id_class_and_the_title_it_was_given():
    graph = {"7": {"class_type": "KSampler", "inputs": {}, "_meta": {"title": "Second pass"}}}
    assert label(graph, "7") == 'node 7 (KSampler "Second pass")'


def test_what_executes_is_what_the_roots_hang_on():
    graph = {
        "a": {"class_type": "A", "inputs": {"x": ["b", 0], "gone": ["z", 0]}},
        "b": {"class_type": "A", "inputs": {"x": ["a", 0]}},
        "c": {"class_type": "A", "inputs": {"x": ["a", 0]}},
    }
    assert reachable(graph, ["a"]) == {"a", "b"}
