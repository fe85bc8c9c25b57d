from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.graph.catalog import Catalog
from orchestrator.graph.parse import parse
from orchestrator.graph.shape import asset, is_link, pointer
from orchestrator.graph.specs import Kind
from orchestrator.graph.validate import check_structure, find_cycle, validate
from orchestrator.graph.values import links_to

relaxed = settings(deadline=None, max_examples=80)


def changed(graph: dict[str, Any], node_id: str, **inputs: Any) -> dict[str, Any]:
    graph = copy.deepcopy(graph)
    graph[node_id]["inputs"].update(inputs)
    return graph


def without(graph: dict[str, Any], node_id: str, name: str) -> dict[str, Any]:
    graph = copy.deepcopy(graph)
    del graph[node_id]["inputs"][name]
    return graph


@relaxed
@given(data=st.data())
def test_what_the_catalog_allows_is_valid(data, valid_graphs, catalog):
    graph = parse(data.draw(valid_graphs))
    validate(graph, catalog)
    check_structure(graph)


@relaxed
@given(data=st.data())
def test_each_single_mistake_is_refused_at_its_place(data, valid_graphs, catalog, refused):
    graph = data.draw(valid_graphs)
    broken, place = _mistake(data.draw, graph, catalog)
    refusal = refused(validate, parse(broken), catalog)
    assert place in [problem["pointer"] for problem in refusal.details["node_errors"]]


def _mistake(draw: st.DrawFn, graph: dict[str, Any], catalog: Catalog) -> tuple[dict[str, Any], str]:
    """The graph with one thing wrong, and a pointer to it."""
    broken = copy.deepcopy(graph)
    node_id = draw(st.sampled_from(sorted(graph)))
    node, spec = broken[node_id], catalog.classes[graph[node_id]["class_type"]]
    if draw(st.integers(0, 9)) == 0:
        node["class_type"] += "X"
        return broken, pointer(node_id)
    inputs = spec.inputs.given(node["inputs"])
    name = draw(st.sampled_from(sorted(inputs.specs)))
    wanted = inputs.specs[name]
    if wanted.required and draw(st.booleans()):
        del node["inputs"][name]
        return broken, pointer(node_id, "inputs", name)
    wrong: list[Any] = [[], ["1"], ["nowhere", 0], [node_id, 99], [node_id, -1], ["1", 0, 0], {"__value__": ["1", 0]}]
    incompatible = [
        [giver, slot]
        for giver, other in graph.items()
        for slot, given_type in enumerate(catalog.classes[other["class_type"]].outputs)
        if not links_to(given_type, wanted.type)
    ]
    wrong += incompatible
    wrong += {
        Kind.INT: ["x", "1.5", None, {}],
        Kind.FLOAT: ["x", "nan", "inf", None, {}],
        Kind.COMBO: ["no such value", None, {}, asset("ast_1")] if wanted.options else [],
        Kind.FILE: ["../../etc/passwd", "no such file.png", 7],
        Kind.SOCKET: ["text", 7, asset("ast_1")],
    }.get(wanted.kind, [])
    if wanted.kind in (Kind.INT, Kind.FLOAT):
        wrong += [wanted.low - 1] if wanted.low is not None else []
        wrong += [wanted.high * 2 + 1] if wanted.high is not None and wanted.high < 1 << 62 else []
    if name == "filename_prefix":
        wrong += ["../x", "/x", "a/../../x", "C:\\x", "\\x", "a\x00"]
    value = draw(st.sampled_from(wrong))
    assume(not (is_link(value) and value[0] == node_id and value[1] == 0))
    node["inputs"][name] = value
    return broken, pointer(node_id, "inputs", name)


@pytest.mark.parametrize(
    ("node_id", "inputs", "code", "place", "said"),
    [
        ("5", {"seed": -1}, "value_smaller_than_min", "/5/inputs/seed", "at least 0"),
        ("5", {"steps": "abc"}, "invalid_input_type", "/5/inputs/steps", "not an integer"),
        ("5", {"steps": None}, "invalid_input_type", "/5/inputs/steps", "must be an integer, not null"),
        ("5", {"cfg": "nan"}, "invalid_input_type", "/5/inputs/cfg", "not a number"),
        ("5", {"cfg": 101}, "value_bigger_than_max", "/5/inputs/cfg", "at most 100"),
        ("4", {"width": 65536}, "value_bigger_than_max", "/4/inputs/width", "at most 16384"),
        ("4", {"batch_size": 10**6}, "value_bigger_than_max", "/4/inputs/batch_size", "at most 4096"),
        ("5", {"sampler_name": "eulre"}, "value_not_in_list", "/5/inputs/sampler_name", '"euler"'),
        ("1", {"ckpt_name": "v1-5.safetensors"}, "missing_model", "/1/inputs/ckpt_name", "models/checkpoints"),
        ("5", {"model": ["1", 1]}, "return_type_mismatch", "/5/inputs/model", "takes MODEL, but output 1"),
        ("5", {"model": ["1", 3]}, "bad_linked_input", "/5/inputs/model", "0 MODEL, 1 CLIP, 2 VAE"),
        ("5", {"model": ["1", 0.0]}, "bad_linked_input", "/5/inputs/model", "output 0.0"),
        ("5", {"model": ["99", 0]}, "bad_linked_input", "/5/inputs/model", "not in the graph"),
        ("5", {"model": [1, 0]}, "bad_linked_input", "/5/inputs/model", "takes for a link"),
        ("5", {"model": "m"}, "invalid_input_type", "/5/inputs/model", "must come from a node that makes MODEL"),
        ("5", {"note": ["99", 0]}, "bad_linked_input", "/5/inputs/note", "not in the graph"),
        ("5", {"latent_image": ["5", 0]}, "dependency_cycle", "/5", "hangs on itself"),
        ("7", {"filename_prefix": "../x"}, "unsafe_path", "/7/inputs/filename_prefix", "relative path"),
        ("7", {"filename_prefix": "/etc/x"}, "unsafe_path", "/7/inputs/filename_prefix", "relative path"),
    ],
)
def test_a_mistake_has_its_code_its_place_and_says_what_to_change(
    text_to_image, catalog, refused, node_id, inputs, code, place, said
):
    refusal = refused(validate, changed(text_to_image, node_id, **inputs), catalog)
    [problem] = refusal.details["node_errors"]
    assert (problem["code"], problem["pointer"], refusal.details["pointer"]) == (code, place, place)
    assert said in refusal.message
    assert f"node {node_id} (" in refusal.message


def test_a_missing_input_is_named(text_to_image, catalog, refused):
    refusal = refused(validate, without(text_to_image, "6", "vae"), catalog)
    assert refusal.details["pointer"] == "/6/inputs/vae"
    assert refusal.details["node_errors"][0]["code"] == "required_input_missing"


@pytest.mark.parametrize(
    ("node_id", "inputs"),
    [
        ("5", {"steps": "20", "cfg": "7.5", "seed": 3.9, "denoise": True}),  # as int() and float() take them
        ("5", {"seed": {"__value__": 7}}),
        ("5", {"something_else": "x", "more": {"a": [1, 2, 3]}, "colours": [1, 2, 3]}),
        ("2", {"text": 5}),
        ("2", {"text": asset("ast_1")}),
        ("7", {"filename_prefix": "%date:yyyy%/..x/y.."}),
    ],
)
def test_what_comfyui_takes_is_taken(text_to_image, catalog, node_id, inputs):
    validate(changed(text_to_image, node_id, **inputs), catalog)


def test_all_mistakes_are_told_in_the_order_of_the_nodes(text_to_image, catalog, refused):
    graph = changed(text_to_image, "5", seed=-1, model=["1", 2], scheduler="x")
    graph = without(changed(graph, "1", ckpt_name="no"), "4", "width")
    graph["8"] = {"class_type": "KSamplerr", "inputs": {}}
    refusal = refused(validate, graph, catalog)
    places = [problem["pointer"] for problem in refusal.details["node_errors"]]
    assert places == [
        "/1/inputs/ckpt_name", "/4/inputs/width", "/5/inputs/seed", "/5/inputs/scheduler", "/5/inputs/model", "/8",
    ]  # fmt: skip
    assert "did you mean KSampler?" in refusal.details["node_errors"][-1]["message"]
    assert refusal.details["pointer"] == places[0]
    assert "5 more" in refusal.message


def test_scorers_that_no_worker_has_are_told_where_they_come_from(text_to_image, catalog, refused):
    scorer = {"class_type": "FleetSharpness", "inputs": {"images": ["8", 0]}}
    refusal = refused(validate, parse(text_to_image | {"fleet_sharpness_9": scorer}), catalog)
    assert "a gate needs comfyfleet's comfy_nodes: link them into a worker's custom_nodes" in refusal.message


def test_a_graph_without_output_is_refused(text_to_image, catalog, refused):
    del text_to_image["7"]
    refusal = refused(validate, text_to_image, catalog)
    assert refusal.details["node_errors"][0]["code"] == "prompt_no_outputs"


def test_one_bad_output_of_two_refuses_the_graph(text_to_image, catalog, refused):
    text_to_image["8"] = {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}}
    assert refused(validate, text_to_image, catalog).details["pointer"] == "/8/inputs/images"


def test_only_what_a_wanted_output_hangs_on_is_looked_at(text_to_image, catalog, refused):
    text_to_image["8"] = {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}}
    text_to_image["9"] = {"class_type": "ImageInvert", "inputs": {}}
    validate(text_to_image, catalog, outputs=["7"])
    text_to_image["9"]["class_type"] = "Nope"  # but ComfyUI wants to know every class
    assert refused(validate, text_to_image, catalog, ["7"]).details["pointer"] == "/9"


@pytest.mark.parametrize(("name", "said"), [("77", "there is no node"), ("5", "is not an output node")])
def test_outputs_that_are_none_are_refused(text_to_image, catalog, refused, name, said):
    refusal = refused(validate, text_to_image, catalog, ["7", name])
    assert (refusal.code, refusal.details["pointer"]) == ("unknown_output", "/outputs/1")
    assert said in refusal.message
    assert refusal.details["allowed"] == ["7"]


LOADING = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


class TestFiles:
    @pytest.mark.parametrize("value", ["example.png", asset("ast_1")])
    def test_assets_and_what_the_worker_lists_are_taken(self, catalog, value):
        validate(changed(LOADING, "1", image=value), catalog)

    @pytest.mark.parametrize("value", ["other.png", "../example.png", "example.png [output]", "/etc/passwd", 5, None])
    def test_any_other_file_is_refused_and_assets_advised(self, catalog, refused, value):
        refusal = refused(validate, changed(LOADING, "1", image=value), catalog)
        assert refusal.details["node_errors"][0]["code"] == "unknown_file"
        assert "POST /v1/assets" in refusal.message

    @pytest.mark.parametrize("value", [{"__type": "core/ASSET"}, {"__type": "core/ASSET", "info": {"id": 3}}])
    def test_an_asset_without_an_id_is_refused(self, catalog, refused, value):
        refusal = refused(validate, changed(LOADING, "1", image=value), catalog)
        assert refusal.details["node_errors"][0]["code"] == "invalid_input_type"

    def test_an_asset_is_no_sampler(self, text_to_image, catalog, refused):
        refusal = refused(validate, changed(text_to_image, "5", sampler_name=asset("ast_1")), catalog)
        assert "not an asset" in refusal.message


def test_combos_of_many_values_are_chosen_from(refused):
    combo = ["COMBO", {"options": ["a", "b", "c"], "multiselect": True}]
    catalog = Catalog.parse({"A": {"input": {"required": {"x": combo}}, "output_node": True}})
    validate({"1": {"class_type": "A", "inputs": {"x": {"__value__": ["a", "c"]}}}}, catalog)
    refusal = refused(validate, {"1": {"class_type": "A", "inputs": {"x": {"__value__": ["a", "z"]}}}}, catalog)
    assert '"z"' in refusal.message


def test_a_refusal_stays_quick_and_short_among_very_many_models(refused):
    names = [f"style_{number}/lora_{number}.safetensors" for number in range(20_000)]
    catalog = Catalog.parse({"L": {"input": {"required": {"lora_name": [names]}}, "output_node": True}})
    refusal = refused(validate, {"1": {"class_type": "L", "inputs": {"lora_name": "lora_777.safetensor"}}}, catalog)
    assert "style_777/lora_777.safetensors" in refusal.details["node_errors"][0]["allowed"]
    assert len(str(refusal.details)) < 2000


@pytest.mark.parametrize(
    ("received", "wanted", "fits"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("*", "MASK", True),
        ("IMAGE", "*", True),
        ("IMAGE", "MASK, IMAGE", True),
        ("IMAGE,LATENT", "LATENT", True),
        ("INT,FLOAT", "STRING,BOOLEAN", False),
        ("STRING", "INT,*", True),
        ("COMFY_MATCHTYPE_V3", "MODEL", True),
        ("STRING", "COMBO", False),
    ],
)
def test_types_fit_as_comfyui_says(received, wanted, fits):
    assert links_to(received, wanted) is fits


def test_a_list_of_values_as_a_type_fits_its_equal_and_a_combo():
    catalog = Catalog.parse({"A": {"input": {"required": {"x": [["a", "b"]]}}, "output": [["a", "b"], ["a"]]}})
    same, other = catalog.classes["A"].outputs
    wanted = catalog.classes["A"].inputs.specs["x"].type
    assert links_to(same, wanted)
    assert not links_to(other, wanted)
    assert links_to(other, "COMBO")
    assert not links_to("STRING", wanted)


class TestStructure:
    def test_without_a_catalog_links_and_names_are_checked(self, text_to_image, refused):
        check_structure(text_to_image)
        graph = changed(text_to_image, "5", model=["99", 0], latent_image=["6", 0])
        graph = changed(graph, "7", filename_prefix="..")
        refusal = refused(check_structure, graph)
        codes = {problem["pointer"]: problem["code"] for problem in refusal.details["node_errors"]}
        assert codes["/5/inputs/model"] == "bad_linked_input"
        assert codes["/7/inputs/filename_prefix"] == "unsafe_path"
        assert "dependency_cycle" in codes.values()

    def test_a_very_long_chain_is_no_cycle_and_does_not_recurse(self, refused):
        count = 20_000
        graph = {str(n): {"class_type": "A", "inputs": {"x": [str(n + 1), 0]}} for n in range(count)}
        graph[str(count)] = {"class_type": "A", "inputs": {}}
        check_structure(graph)
        graph[str(count)]["inputs"]["x"] = ["0", 0]
        refusal = refused(check_structure, graph)
        assert refusal.details["node_errors"][0]["code"] == "dependency_cycle"
        assert len(refusal.message) < 2000

    def test_a_thousand_mistakes_are_not_all_listed(self, refused):
        graph = {str(n): {"class_type": "A", "inputs": {"x": ["nowhere", 0]}} for n in range(1000)}
        assert len(refused(check_structure, graph).details["node_errors"]) == 100


@relaxed
@given(st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=3)))
def test_a_cycle_is_found_when_there_is_one(numbers):
    edges = {str(node): [str(each) for each in ends] for node, ends in numbers.items()}
    cycle = find_cycle(edges)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert all(after in edges[before] for before, after in itertools.pairwise(cycle))
        return
    left = dict(edges)  # no cycle: taking away what hangs on nothing that is left must empty it
    while free := [node for node, ends in left.items() if not any(end in left for end in ends)]:
        for node in free:
            del left[node]
    assert not left
