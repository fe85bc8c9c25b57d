from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.graph.bind import patch, resolve
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.draft import draft
from orchestrator.graph.params import Schema
from orchestrator.graph.prompts import Polarity, prompts
from orchestrator.graph.shape import asset
from orchestrator.graph.validate import validate


def drafted(graph: dict[str, Any], catalog: Catalog | None) -> tuple[dict[str, Any], dict[str, Any]]:
    return draft(graph, catalog, "mine", "mine.api.json", "../params/mine.schema.json")


@pytest.fixture(params=["with a catalog", "without a catalog"])
def known(request, catalog) -> Catalog | None:
    return catalog if request.param == "with a catalog" else None


def test_the_usual_graph_has_the_params_that_users_expect(text_to_image, known):
    registration, schema = drafted(text_to_image, known)
    assert registration == {
        "name": "mine",
        "description": "",
        "graph": "mine.api.json",
        "params": "../params/mine.schema.json",
        "bind": {
            "prompt": "2.text",
            "negative": "3.text",
            "seed": "5.seed",
            "width": "4.width",
            "height": "4.height",
            "batch_size": "4.batch_size",
            "steps": "5.steps",
            "cfg": "5.cfg",
            "denoise": "5.denoise",
            "sampler": "5.sampler_name",
            "scheduler": "5.scheduler",
            "checkpoint": "1.ckpt_name",
        },
        "pool": "default",
        "timeout_s": 600,
        "retries": 2,
    }
    properties = schema["properties"]
    assert "required" not in schema
    assert properties["prompt"]["default"] == "a lighthouse"
    assert "default" not in properties["seed"]
    assert {"minimum": 1, "maximum": 100, "default": 20}.items() <= properties["steps"].items()


def test_choices_are_those_of_the_catalog_when_there_is_one(text_to_image, catalog):
    properties = drafted(text_to_image, catalog)[1]["properties"]
    assert "sd_xl_base_1.0.safetensors" in properties["checkpoint"]["enum"]
    assert "karras" in properties["scheduler"]["enum"]
    text_to_image["1"]["inputs"]["ckpt_name"] = "own.safetensors"
    assert drafted(text_to_image, catalog)[1]["properties"]["checkpoint"]["enum"][0] == "own.safetensors"
    assert "enum" not in drafted(text_to_image, None)[1]["properties"]["scheduler"]


def test_what_means_and_holds_the_same_is_one_param(text_to_image, known):
    for node_id, source in (("12", "2"), ("13", "3"), ("15", "5")):
        text_to_image[node_id] = copy.deepcopy(text_to_image[source])
    text_to_image["15"]["inputs"] |= {
        "positive": ["12", 0],
        "negative": ["13", 0],
        "latent_image": ["5", 0],
        "steps": 8,
    }
    text_to_image["15"]["_meta"] = {"title": "Second pass"}
    text_to_image["6"]["inputs"]["samples"] = ["15", 0]
    bind = drafted(text_to_image, known)[0]["bind"]
    assert bind["prompt"] == ["2.text", "12.text"]
    assert bind["negative"] == ["3.text", "13.text"]
    assert bind["seed"] == ["5.seed", "15.seed"]
    assert (bind["steps"], bind["second_pass_steps"]) == ("5.steps", "15.steps")


def test_files_are_asked_for_as_assets_and_called_by_their_titles(known):
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Load Image"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "b.png"}, "_meta": {"title": "Pose (OpenPose)"}},
        "3": {"class_type": "LoadImage", "inputs": {"image": "c.png"}},
        "4": {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["2", 0]}},
        "5": {"class_type": "ImageBlend", "inputs": {"image1": ["4", 0], "image2": ["4", 0]}},
        "6": {"class_type": "InvertMask", "inputs": {"mask": ["3", 1]}},
        "7": {"class_type": "PreviewAny", "inputs": {"source": ["6", 0]}},
        "8": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
    }
    registration, schema = drafted(graph, known)
    assert registration["bind"] == {
        "image": {"input": "1.image", "kind": "image"},
        "pose_openpose": {"input": "2.image", "kind": "image"},
        "mask": {"input": "3.image", "kind": "mask"},
    }
    assert schema["required"] == ["image", "pose_openpose", "mask"]


def test_loras_come_with_their_strength(text_to_image, known):
    text_to_image["9"] = {
        "class_type": "LoraLoader",
        "inputs": {
            "model": ["1", 0], "clip": ["1", 1], "lora_name": "detail.safetensors",
            "strength_model": 0.8, "strength_clip": 0.8,
        },
    }  # fmt: skip
    text_to_image["5"]["inputs"]["model"] = ["9", 0]
    bind = drafted(text_to_image, known)[0]["bind"]
    assert bind["lora"] == "9.lora_name"
    assert bind["lora_strength"] == ["9.strength_model", "9.strength_clip"]


def test_sizes_of_what_is_not_made_but_scaled_are_left_alone(text_to_image, known):
    text_to_image["9"] = {
        "class_type": "ImageScale",
        "inputs": {"image": ["6", 0], "upscale_method": "area", "width": 64, "height": 64, "crop": "disabled"},
    }
    text_to_image["7"]["inputs"]["images"] = ["9", 0]
    assert drafted(text_to_image, known)[0]["bind"]["width"] == "4.width"


def test_only_what_executes_is_offered(text_to_image, catalog):
    text_to_image["9"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "unused", "clip": ["1", 1]}}
    assert drafted(text_to_image, catalog)[0]["bind"]["prompt"] == "2.text"


class TestPrompts:
    def test_the_negative_one_is_told_by_the_sampler_whatever_the_order(self, text_to_image):
        text_to_image["5"]["inputs"] |= {"positive": ["3", 0], "negative": ["2", 0]}
        del text_to_image["2"]["_meta"]
        assert prompts(text_to_image) == {("2", "text"): Polarity.NEGATIVE, ("3", "text"): Polarity.POSITIVE}

    def test_conditioning_is_followed_through_what_changes_it(self, text_to_image):
        both = {"positive": ["8", 0], "negative": ["3", 0], "control_net": ["x", 0], "image": ["y", 0]}
        text_to_image["8"] = {
            "class_type": "ConditioningCombine",
            "inputs": {"conditioning_1": ["2", 0], "conditioning_2": ["10", 0]},
        }
        text_to_image["9"] = {"class_type": "ControlNetApplyAdvanced", "inputs": both}
        text_to_image["10"] = {"class_type": "Own text node", "inputs": {"text": "more", "clip": ["1", 1]}}
        text_to_image["5"]["inputs"] |= {"positive": ["9", 0], "negative": ["9", 1]}
        found = prompts(text_to_image)
        assert found[("3", "text")] is Polarity.NEGATIVE
        assert found[("2", "text")] is found[("10", "text")] is Polarity.POSITIVE

    def test_a_title_says_so_first(self, text_to_image):
        text_to_image["2"]["_meta"]["title"] = "Negative Prompt"
        assert prompts(text_to_image)[("2", "text")] is Polarity.NEGATIVE

    def test_a_negative_of_nothing_makes_no_prompt_negative(self, text_to_image):
        text_to_image["8"] = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["2", 0]}}
        text_to_image["5"]["inputs"]["negative"] = ["8", 0]
        assert prompts(text_to_image)[("2", "text")] is Polarity.POSITIVE

    def test_guiders_and_text_from_elsewhere(self):
        graph = {
            "t": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a cat"}},
            "e": {"class_type": "CLIPTextEncode", "inputs": {"text": ["t", 0], "clip": ["c", 0]}},
            "f": {"class_type": "FluxGuidance", "inputs": {"conditioning": ["e", 0], "guidance": 3.5}},
            "g": {"class_type": "BasicGuider", "inputs": {"conditioning": ["f", 0], "model": ["m", 0]}},
        }
        assert prompts(graph) == {("t", "value"): Polarity.POSITIVE}

    def test_links_in_a_circle_end(self):
        graph = {
            "a": {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["b", 0]}},
            "b": {
                "class_type": "ConditioningCombine",
                "inputs": {"conditioning_1": ["a", 0], "conditioning_2": ["z", 0]},
            },
            "k": {"class_type": "KSampler", "inputs": {"positive": ["a", 0]}},
        }
        assert prompts(graph) == {}


@settings(deadline=None)
@given(data=st.data())
def test_a_draft_registers_and_runs_as_it_stands(data, valid_graphs, catalog):
    graph = data.draw(valid_graphs)
    known = data.draw(st.sampled_from([catalog, None]))
    registration, document = drafted(graph, known)
    bind, schema = resolve(graph, registration["bind"]), Schema(document)
    schema.check_bind(bind)
    assets = dict.fromkeys(document.get("required", ()), "ast_1")
    seeds = schema.seeds(bind)
    assert all(name in seeds for name in bind if name.startswith("seed"))
    params = schema.complete(assets, {name: low for name, (low, _) in seeds.items()})
    validate(patch(graph, bind, params), catalog)
    assert all(params[name] == asset_or_value for name, asset_or_value in assets.items())


def test_an_asset_param_is_patched_as_an_asset(known):
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    registration, _ = drafted(graph, known)
    patched = patch(graph, resolve(graph, registration["bind"]), {"image": "ast_1"})
    assert patched["1"]["inputs"]["image"] == asset("ast_1")
