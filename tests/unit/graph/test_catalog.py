from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.graph.catalog import Catalog, merge
from orchestrator.graph.specs import Kind
from orchestrator.graph.validate import validate


def catalog_of(**classes) -> Catalog:
    return Catalog.parse({name: {"input": {"required": inputs}, "output": []} for name, inputs in classes.items()})


def test_an_input_of_the_older_style_is_compiled(catalog):
    spec = catalog.classes["KSampler"].inputs.specs
    assert (spec["steps"].kind, spec["steps"].low, spec["steps"].high) == (Kind.INT, 1, 10000)
    assert spec["sampler_name"].kind is Kind.COMBO
    assert spec["sampler_name"].options is not None
    assert "euler" in spec["sampler_name"].options
    assert spec["model"].kind is Kind.SOCKET


def test_a_class_knows_its_outputs_and_whether_it_is_an_output(catalog):
    assert catalog.classes["CheckpointLoaderSimple"].outputs == ("MODEL", "CLIP", "VAE")
    assert catalog.classes["SaveImage"].output_node
    assert not catalog.classes["KSampler"].output_node


def test_an_autogrow_input_is_all_that_it_may_grow_to(catalog):
    inputs = catalog.classes["BatchImagesNode"].inputs
    assert inputs.required == ("images.image0",)
    assert inputs.specs["images.image49"].type == "IMAGE"
    assert "images.image50" not in inputs.specs


def test_a_dynamic_combo_has_the_inputs_of_the_value_it_holds(catalog):
    inputs = catalog.classes["ResizeImageMaskNode"].inputs
    assert inputs.specs["resize_type"].kind is Kind.COMBO
    by_size = inputs.given({"resize_type": "scale dimensions"})
    assert "resize_type.width" in by_size.required
    by_factor = inputs.given({"resize_type": "scale by multiplier"})
    assert "resize_type.width" not in by_factor.specs
    assert "resize_type.multiplier" in by_factor.required
    assert inputs.given({"resize_type": ["1", 0]}).specs.keys() == inputs.specs.keys()


def test_dynamic_inputs_nest():
    inner = {"required": {"mode": ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "a", "inputs": {}}]}]}}
    outer = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": 7, "inputs": inner}]}]
    slot = ["COMFY_DYNAMICSLOT_V3", {"slotType": "IMAGE", "inputs": {"required": {"w": ["INT", {}]}}}]
    inputs = catalog_of(A={"outer": outer, "slot": slot}).classes["A"].inputs
    assert inputs.given({"outer": 7}).required == ("outer", "slot", "outer.mode")
    assert inputs.given({"slot": ["1", 0]}).specs["slot.w"].kind is Kind.INT


@pytest.mark.parametrize(
    ("class_type", "name"),
    [
        ("LoadImage", "image"),
        ("LoadImageOutput", "image"),
        ("LoadAudio", "audio"),
        ("LoadVideo", "file"),
        ("LoadLatent", "latent"),
    ],
)
def test_inputs_that_name_files_are_told_from_combos(catalog, class_type, name):
    assert catalog.classes[class_type].inputs.specs[name].kind is Kind.FILE


def test_the_folders_of_loaders_are_told_by_class_and_input(catalog, object_info):
    told = {
        (class_type, name): spec.folder
        for class_type, entry in catalog.classes.items()
        for name, spec in entry.inputs.specs.items()
        if spec.folder
    }
    assert told[("CheckpointLoaderSimple", "ckpt_name")] == "checkpoints"
    assert told[("QuadrupleCLIPLoader", "clip_name4")] == "text_encoders"
    assert told[("CLIPVisionLoader", "clip_name")] == "clip_vision"
    assert told[("UpscaleModelLoader", "model_name")] == "upscale_models"
    assert told[("VAELoader", "vae_name")] == "vae"  # which also offers "pixel_space"
    assert told[("StyleModelLoader", "style_model_name")] == "style_models"  # of which there is none
    assert ("CheckpointLoader", "config_name") not in told


def test_the_folder_of_an_unknown_loader_is_told_by_its_input_or_unknown():
    catalog = catalog_of(
        UnetLoaderGGUF={"unet_name": [["flux-Q4.gguf"]]},
        Stack={"lora_name_1": [["None", "a.safetensors"]]},
        Detector={"model_name": [["bbox/face.pt", "hand.onnx"]]},
        Style={"style": [["a.safetensors", "plain"]]},
    )
    folder = {name: next(iter(spec.inputs.specs.values())).folder for name, spec in catalog.classes.items()}
    assert folder == {"UnetLoaderGGUF": "diffusion_models", "Stack": "loras", "Detector": "unknown", "Style": None}
    assert ModelRef("unknown", "bbox/face.pt") in catalog.models
    assert ModelRef("loras", "None") not in catalog.models


def test_combos_that_show_previews_offer_their_names():
    catalog = catalog_of(A={"ckpt_name": [[{"content": "a.safetensors", "image": "a.png"}]]})
    assert catalog.models == {ModelRef("checkpoints", "a.safetensors")}


def test_what_is_lacking_is_told(catalog):
    needs = Needs(
        classes=("KSampler", "Nope"),
        models=(
            ModelRef("checkpoints", "nope.safetensors"),
            ModelRef("embeddings", "no catalog lists these"),
            ModelRef("loras", "style/ink.safetensors"),
        ),
    )
    assert catalog.lacks(needs) == Needs(("Nope",), (ModelRef("checkpoints", "nope.safetensors"),))


@pytest.mark.parametrize(
    "info",
    [
        None,
        {},
        {"input": None, "output": None},
        {"input": {"required": {"a": [], "b": None, "c": "INT", "d": [[]], "e": ["COMBO"], "f": ["INT", None]}}},
        {"input": {"required": {"a": ["INT", {"min": "x", "max": True}], "b": [{"odd": 1}], "c": [[[1]]]}}},
        {"input": {"required": {"a": ["COMFY_AUTOGROW_V3", {}], "b": ["COMFY_DYNAMICCOMBO_V3", {}]}}},
    ],
)
def test_what_a_node_pack_says_oddly_does_not_stop_the_rest(info, object_info):
    catalog = Catalog.parse({"Odd": info, "KSampler": object_info["KSampler"]})
    assert "KSampler" in catalog.classes


def test_merging_takes_the_union_and_the_widest_range(object_info):
    theirs = copy.deepcopy(object_info)
    del theirs["SaveText"]
    theirs["Own"] = {"input": {}, "output": ["INT"], "output_node": True}
    theirs["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0] = ["other.safetensors"]
    sampler = theirs["KSampler"]["input"]["required"]
    sampler["steps"][1].update(min=0, max=50)
    sampler["eta"] = ["FLOAT", {"default": 0.0}]
    sampler["scheduler"] = ["COMBO", {"options": ["brand_new"]}]
    merged = merge([Catalog.parse(object_info), Catalog.parse(theirs)])
    assert {"SaveText", "Own"} <= merged.classes.keys()
    assert ModelRef("checkpoints", "other.safetensors") in merged.models
    assert ModelRef("checkpoints", "v1-5-pruned-emaonly.safetensors") in merged.models
    spec = merged.classes["KSampler"].inputs
    assert (spec.specs["steps"].low, spec.specs["steps"].high) == (0, 10000)
    assert "eta" in spec.specs
    assert "eta" not in spec.required
    assert spec.specs["scheduler"].options is not None
    assert {"karras", "brand_new"} <= spec.specs["scheduler"].options.lookup


def test_merging_equals_changes_nothing(object_info):
    one, other = Catalog.parse(object_info), Catalog.parse(object_info)
    merged = merge([one, other])
    assert (merged.models, merged.folders) == (one.models, one.folders)
    for name, spec in merged.classes.items():
        assert spec.inputs.required == one.classes[name].inputs.required
        assert spec.inputs.specs.keys() == one.classes[name].inputs.specs.keys()
        assert len(spec.outputs) == len(one.classes[name].outputs)
    assert merge([one, one]) is one


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_what_one_worker_can_run_the_pool_accepts(data, valid_graphs, catalog, object_info):
    other = {name: info for name, info in object_info.items() if data.draw(st.booleans()) or name == "KSampler"}
    other = json.loads(json.dumps(other).replace('"euler"', '"own_sampler"').replace('"max":', '"max": 1, "was":'))
    graph = data.draw(valid_graphs)
    validate(graph, merge([Catalog.parse(other), catalog]))
