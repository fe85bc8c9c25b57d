from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.graph.shape import asset, is_link
from orchestrator.graph.stage import asset_ids, break_cache, reassigned, stage
from orchestrator.graph.validate import validate

FILES = {"ast_1": "aa.png", "ast_2": "bb.wav"}


def node(class_type: str = "A", **inputs: Any) -> dict[str, Any]:
    return {"1": {"class_type": class_type, "inputs": inputs}}


def test_assets_are_found_wherever_they_stand():
    graph = node(a=asset("ast_2"), b={"image": asset("ast_1"), "x": [asset("ast_3")]}, c=["1", 0], d=asset("ast_2"))
    assert asset_ids(graph) == ("ast_1", "ast_2", "ast_3")


def test_other_assets_take_the_place_of_some():
    graph = node(a=asset("old"), b={"image": asset("old"), "x": [asset("ast_1"), 3]}, c=["1", 0])
    assert reassigned(graph, {"old": "new"}) == node(
        a=asset("new"), b={"image": asset("new"), "x": [asset("ast_1"), 3]}, c=["1", 0]
    )


def test_assets_become_file_names_wherever_they_stand():
    graph = node(a=asset("ast_2"), b={"image": asset("ast_1"), "x": [asset("ast_1"), 3]}, c=["1", 0])
    assert stage(graph, "r", FILES) == node(a="bb.wav", b={"image": "aa.png", "x": ["aa.png", 3]}, c=["1", 0])


def test_an_asset_that_is_not_there_is_refused_at_its_place(refused):
    refusal = refused(stage, node(**{"im/age": asset("ast_9")}), "r", FILES)
    assert (refusal.code, refusal.details["pointer"]) == ("missing_asset", "/1/inputs/im~1age")
    assert "ast_9" in refusal.message


@pytest.mark.parametrize("broken", [{}, {"info": 3}, {"info": {"id": ""}}])
def test_an_asset_without_an_id_is_refused_at_its_place(broken, refused):
    refusal = refused(asset_ids, node(image={"__type": "core/ASSET", **broken}))
    assert (refusal.code, refusal.details["pointer"]) == ("missing_asset", "/1/inputs/image")


@pytest.mark.parametrize(
    ("prefix", "staged"),
    [
        ("ComfyUI", "fleet/run-1/ComfyUI"),
        ("a/b", "fleet/run-1/a/b"),
        ("a/", "fleet/run-1/a"),
        ("a\\b", "fleet/run-1/a/b"),
        ("", "fleet/run-1/ComfyUI"),
        (7, "fleet/run-1/7"),
        ("fleet/run-0/a", "fleet/run-1/fleet/run-0/a"),
        ("fleet/run-1/a", "fleet/run-1/a"),
        (["2", 0], ["2", 0]),
    ],
)
def test_outputs_go_to_a_place_of_the_run_alone(prefix, staged):
    assert stage(node("Any save node", filename_prefix=prefix), "run-1", {}) == node(
        "Any save node", filename_prefix=staged
    )


@settings(deadline=None)
@given(data=st.data())
def test_staging_leaves_the_original_alone_and_twice_is_once(data, valid_graphs):
    graph = data.draw(valid_graphs)
    before = copy.deepcopy(graph)
    staged = stage(graph, "r", FILES)
    assert graph == before
    assert asset_ids(staged) == ()
    assert stage(staged, "r", {}) == staged
    for node_id, each in graph.items():
        if "filename_prefix" not in each["inputs"] and not asset_ids({node_id: each}):
            assert staged[node_id] is each  # shared, not copied


@settings(deadline=None)
@given(data=st.data())
def test_a_broken_cache_changes_every_node_but_pure_loaders_and_nothing_that_counts(data, valid_graphs, catalog):
    graph = data.draw(valid_graphs)
    before = copy.deepcopy(graph)
    broken = break_cache(graph, "n1")
    assert graph == before
    validate(broken, catalog)
    for node_id, each in graph.items():
        names_a_model = any(str(value).endswith((".safetensors", ".pth")) for value in each["inputs"].values())
        linked = any(map(is_link, each["inputs"].values()))
        added = {name: value for name, value in broken[node_id]["inputs"].items() if name not in each["inputs"]}
        assert list(added.values()) == ([] if names_a_model and not linked else ["n1"])
        assert {**broken[node_id]["inputs"], **each["inputs"]} == broken[node_id]["inputs"]
