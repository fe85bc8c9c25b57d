from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.workflow import Binding, ParamKind
from orchestrator.errors import InvalidRequest
from orchestrator.graph.bind import patch, resolve
from orchestrator.graph.shape import asset, is_link
from orchestrator.graph.validate import validate


def test_inputs_are_named_by_node_and_by_title(text_to_image):
    bindings = resolve(
        text_to_image,
        {
            "prompt": "@Prompt.text",
            "negative": "3.text",
            "size": ["4.width", "4.height"],
            "seed": {"input": "5.seed"},
            "rest": {"inputs": ["5.steps", "5.cfg"], "kind": "value"},
            "image": {"input": "1.ckpt_name", "kind": "image"},
        },
    )
    assert bindings == {
        "prompt": Binding((("2", "text"),)),
        "negative": Binding((("3", "text"),)),
        "size": Binding((("4", "width"), ("4", "height"))),
        "seed": Binding((("5", "seed"),)),
        "rest": Binding((("5", "steps"), ("5", "cfg"))),
        "image": Binding((("1", "ckpt_name"),), ParamKind.IMAGE),
    }


def test_ids_titles_and_input_names_may_hold_dots():
    graph = {
        "a.b": {"class_type": "A", "inputs": {"x": 1, "resize.width": 2}},
        "12:7": {"class_type": "A", "inputs": {"x": 1}, "_meta": {"title": "Model v1.5"}},
    }
    named = {"p": "a.b.x", "q": "a.b.resize.width", "r": "@Model v1.5.x"}
    places = {param: binding.inputs[0] for param, binding in resolve(graph, named).items()}
    assert places == {"p": ("a.b", "x"), "q": ("a.b", "resize.width"), "r": ("12:7", "x")}


@pytest.mark.parametrize(
    ("bind", "pointer", "said"),
    [
        ({"p": "44.text"}, "/p", 'no node "44"'),
        ({"p": "@Promt.text"}, "/p", '"@Prompt"'),
        ({"p": "5.stepz"}, "/p", '"steps"'),
        ({"p": "5.model"}, "/p", "linked to node 1"),
        ({"p": "text"}, "/p", "NODE.INPUT"),
        ({"p": 5}, "/p", "an integer"),
        ({"p": None}, "/p", "null"),
        ({"p": []}, "/p", "at least one"),
        ({"p": ["5.seed", "4.seed"]}, "/p/1", "has no input"),
        ({"p": ["5.seed", "5.seed"]}, "/p/1", "twice"),
        ({"p": "5.seed", "q": ["4.width", "5.seed"]}, "/q", 'bound to "p" already'),
        ({"p": {}}, "/p", "either input"),
        ({"p": {"input": "5.seed", "inputs": ["5.cfg"]}}, "/p", "either input"),
        ({"p": {"input": "5.seedling"}}, "/p/input", "has no input"),
        ({"p": {"inputs": ["5.seed", "9.x"]}}, "/p/inputs/1", "no node"),
        ({"p": {"input": "5.seed", "kind": "picture"}}, "/p/kind", "image"),
        ({"p": {"input": "5.seed", "kind": []}}, "/p/kind", "image"),
        ({"p": {"input": "5.seed", "knd": "image"}}, "/p/knd", "kind"),
    ],
)
def test_a_binding_to_nothing_is_refused_at_its_place(text_to_image, refused, bind, pointer, said):
    refusal = refused(resolve, text_to_image, bind)
    assert (refusal.code, refusal.details["pointer"]) == ("invalid_binding", pointer)
    assert said in refusal.message
    assert f"bind{pointer}" in refusal.message


def test_a_title_that_two_nodes_have_is_refused(text_to_image, refused):
    text_to_image["3"]["_meta"] = {"title": "Prompt"}
    assert "2, 3" in refused(resolve, text_to_image, {"p": "@Prompt.text"}).message


def test_an_asset_goes_in_as_what_stands_for_it(text_to_image):
    bind = {"image": Binding((("1", "ckpt_name"),), ParamKind.IMAGE)}
    assert patch(text_to_image, bind, {"image": "ast_1"})["1"]["inputs"]["ckpt_name"] == asset("ast_1")


def test_a_caller_cannot_rewire_the_graph(text_to_image, catalog, refused):
    bind = resolve(text_to_image, {"prompt": "2.text", "steps": "5.steps"})
    with pytest.raises(InvalidRequest) as caught:
        patch(text_to_image, bind, {"prompt": ["1", 0]})
    assert caught.value.details["pointer"] == "/prompt"
    for value in (["1", 0, 0], {"__value__": ["1", 0]}, asset("ast_1")):
        patched = patch(text_to_image, bind, {"prompt": value})
        assert patched["2"]["inputs"]["text"] == {"__value__": value}
    assert (
        refused(validate, patch(text_to_image, bind, {"steps": [7]}), catalog).details["pointer"] == "/5/inputs/steps"
    )


_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.integers())
)


@settings(deadline=None)
@given(data=st.data())
def test_patching_leaves_the_original_alone_and_twice_is_once(data, valid_graphs):
    graph = data.draw(valid_graphs)
    places = [(i, name) for i, node in graph.items() for name, value in node["inputs"].items() if not is_link(value)]
    chosen = data.draw(st.lists(st.sampled_from(places), unique=True)) if places else []
    bind = resolve(graph, {f"p{n}": f"{node_id}.{name}" for n, (node_id, name) in enumerate(chosen)})
    params: dict[str, Any] = {name: data.draw(_VALUES) for name in bind if data.draw(st.booleans())}
    before = copy.deepcopy(graph)
    patched = patch(graph, bind, params)
    assert graph == before
    assert patch(patched, bind, params) == patched
    touched = {bind[name].inputs[0] for name in params}
    for node_id, node in graph.items():
        if node_id not in {owner for owner, _ in touched}:
            assert patched[node_id] is node  # shared, not copied
        for name, value in node["inputs"].items():
            if (node_id, name) not in touched:
                assert patched[node_id]["inputs"][name] == value
