from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.needs import ModelRef
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.needs import embeddings, needs
from orchestrator.graph.shape import asset, is_link


def models(graph: dict[str, Any], catalog: Catalog | None = None, outputs: tuple[str, ...] = ()) -> list[str]:
    return [f"{model.folder}/{model.name}" for model in needs(graph, catalog, outputs).models]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"1": {"class_type": class_type, "inputs": inputs}}


def test_classes_and_models_are_sorted_and_said_once(text_to_image, catalog):
    text_to_image["8"] = copy.deepcopy(text_to_image["1"])
    found = needs(text_to_image, catalog)
    assert found.classes == (
        "CLIPTextEncode", "CheckpointLoaderSimple", "EmptyLatentImage", "KSampler", "SaveImage", "VAEDecode",
    )  # fmt: skip
    assert found.models == (ModelRef("checkpoints", "v1-5-pruned-emaonly.safetensors"),)


LOADERS = [
    ("CheckpointLoaderSimple", {"ckpt_name": "a.ckpt"}, ["checkpoints/a.ckpt"]),
    ("unCLIPCheckpointLoader", {"ckpt_name": "a.ckpt"}, ["checkpoints/a.ckpt"]),
    ("ImageOnlyCheckpointLoader", {"ckpt_name": "a.ckpt"}, ["checkpoints/a.ckpt"]),
    ("UNETLoader", {"unet_name": "a.safetensors", "weight_dtype": "default"}, ["diffusion_models/a.safetensors"]),
    ("CLIPLoader", {"clip_name": "a.safetensors", "type": "sd3"}, ["text_encoders/a.safetensors"]),
    ("DualCLIPLoader", {"clip_name1": "b.pt", "clip_name2": "a.pt"}, ["text_encoders/a.pt", "text_encoders/b.pt"]),
    ("QuadrupleCLIPLoader", {"clip_name1": "a.pt", "clip_name4": "a.pt"}, ["text_encoders/a.pt"]),
    ("VAELoader", {"vae_name": "sub/a.pt"}, ["vae/sub/a.pt"]),
    ("VAELoader", {"vae_name": "pixel_space"}, []),
    ("LoraLoader", {"lora_name": "a.safetensors", "strength_model": 1}, ["loras/a.safetensors"]),
    ("LoraLoaderModelOnly", {"lora_name": "a.safetensors"}, ["loras/a.safetensors"]),
    ("ControlNetLoader", {"control_net_name": "a.pth"}, ["controlnet/a.pth"]),
    ("DiffControlNetLoader", {"control_net_name": "a.pth"}, ["controlnet/a.pth"]),
    ("UpscaleModelLoader", {"model_name": "a.pth"}, ["upscale_models/a.pth"]),
    ("LatentUpscaleModelLoader", {"model_name": "a.pth"}, ["latent_upscale_models/a.pth"]),
    ("CLIPVisionLoader", {"clip_name": "a.bin"}, ["clip_vision/a.bin"]),
    ("StyleModelLoader", {"style_model_name": "a.safetensors"}, ["style_models/a.safetensors"]),
    ("GLIGENLoader", {"gligen_name": "a.pth"}, ["gligen/a.pth"]),
    ("HypernetworkLoader", {"hypernetwork_name": "a.pt", "strength": 1}, ["hypernetworks/a.pt"]),
    ("PhotoMakerLoader", {"photomaker_model_name": "a.bin"}, ["photomaker/a.bin"]),
    ("AudioEncoderLoader", {"audio_encoder_name": "a.safetensors"}, ["audio_encoders/a.safetensors"]),
    ("ModelPatchLoader", {"name": "a.safetensors"}, ["model_patches/a.safetensors"]),
    ("DiffusersLoader", {"model_path": "stable-diffusion"}, ["diffusers/stable-diffusion"]),
]


@pytest.mark.parametrize(("class_type", "inputs", "expected"), LOADERS)
def test_the_models_of_each_loader_are_found_with_and_without_a_catalog(class_type, inputs, expected, catalog):
    graph = node(class_type, **inputs)
    assert models(graph) == expected
    graph["2"] = {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
    assert models(graph, catalog) == expected


CUSTOM = [
    ("UnetLoaderGGUF", {"unet_name": "flux-Q4_K_S.gguf"}, ["diffusion_models/flux-Q4_K_S.gguf"]),
    ("CLIPLoaderGGUF", {"clip_name": "t5.gguf", "type": "sd3"}, ["text_encoders/t5.gguf"]),
    ("CR LoRA Stack", {"lora_name_1": "a.pt", "lora_name_2": "None"}, ["loras/a.pt"]),
    ("IPAdapterModelLoader", {"ipadapter_file": "a.bin"}, ["ipadapter/a.bin"]),
    ("Eff. Loader", {"ckpt_name": "a.pt", "vae_name": "Baked VAE", "lora_name": "None"}, ["checkpoints/a.pt"]),
    ("Anything", {"whatever": "a.onnx"}, ["unknown/a.onnx"]),
    (
        "Power Lora Loader (rgthree)",
        {
            "lora_1": {"on": True, "lora": "a.safetensors", "strength": 1},
            "lora_2": {"on": False, "lora": "b.safetensors", "strength": 1},
            "PowerLoraLoaderHeaderWidget": {"type": "PowerLoraLoaderHeaderWidget"},
        },
        ["loras/a.safetensors"],
    ),
    ("LoadImage", {"image": asset("ast_1")}, []),
    ("KSampler", {"model": ["1.safetensors", 0]}, []),
    ("Note", {"text": "see https://example.com/\na.safetensors"}, []),
]  # fmt: skip


@pytest.mark.parametrize(("class_type", "inputs", "expected"), CUSTOM)
def test_the_models_of_custom_loaders_are_found_by_the_names_of_their_inputs(class_type, inputs, expected):
    assert models(node(class_type, **inputs)) == expected


def test_a_custom_loader_is_what_offers_model_files(object_info):
    loader = {"input": {"required": {"model_name": [["a.pth", "b.pth"]], "mode": [["fast"]]}}, "output": ["X"]}
    catalog = Catalog.parse({**object_info, "Detector": loader})
    graph = node("Detector", model_name="b.pth", mode="fast")
    graph["2"] = {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
    assert models(graph, catalog) == ["unknown/b.pth"]


def test_free_inputs_count_where_the_catalog_knows_the_folder(object_info):
    rows = {"input": {"required": {}, "optional": {}}, "output": ["MODEL"], "output_node": True}
    catalog = Catalog.parse({**object_info, "Rows": rows})
    graph = node("Rows", lora_1={"on": True, "lora": "a.safetensors"}, instantid_file="b.bin", other="c.safetensors")
    assert models(graph, catalog) == ["loras/a.safetensors"]


def test_only_what_an_output_hangs_on_loads_models_but_every_class_counts(text_to_image, catalog):
    text_to_image["8"] = {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "RealESRGAN_x4plus.pth"}}
    text_to_image["9"] = {"class_type": "VAELoader", "inputs": {"vae_name": "a.pt"}}
    text_to_image["10"] = {"class_type": "PreviewAny", "inputs": {"source": ["9", 0]}}
    assert models(text_to_image, catalog) == ["checkpoints/v1-5-pruned-emaonly.safetensors", "vae/a.pt"]
    assert models(text_to_image, catalog, ("10",)) == ["vae/a.pt"]
    assert "UpscaleModelLoader" in needs(text_to_image, catalog, ("10",)).classes


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("embedding:easy", ["easy"]),
        ("a cat, embedding:easy, b", ["easy"]),
        ("a\nembedding:one embedding:two", ["one", "two"]),
        ("(embedding:easy:1.2), (embedding:sub/hands.pt:0.8)", ["easy", "sub/hands"]),
        ("(blurry embedding:easy)", ["easy"]),
        ("embedding:easy.safetensors", ["easy"]),
        ("embedding:bad_prompt_version2-neg:", ["bad_prompt_version2-neg:"]),
        ("embedding:face\\(v2\\)", ["face(v2)"]),
        ("embedding:easy<lora>", ["easy"]),
        ("myembedding:easy", []),
        ("embedding:", []),
        ("embedding: easy", []),
        ("embedding", []),
    ],
)
def test_embeddings_are_read_as_the_tokenizer_reads_them(text, names):
    assert embeddings(text) == names


def test_embeddings_are_models_that_a_graph_needs(text_to_image, catalog):
    text_to_image["3"]["inputs"]["text"] = "embedding:easy"
    assert "embeddings/easy" in models(text_to_image, catalog)
    assert "embeddings/easy" in models(text_to_image)


@settings(deadline=None)
@given(data=st.data())
def test_needs_do_not_depend_on_the_names_and_the_order_of_nodes(data, valid_graphs, catalog):
    graph = data.draw(valid_graphs)
    order = data.draw(st.permutations(sorted(graph)))
    names = {node_id: f"renamed {number}" for number, node_id in enumerate(order)}
    renamed = {
        names[node_id]: {
            **graph[node_id],
            "inputs": {
                name: [names[value[0]], value[1]] if is_link(value) else value
                for name, value in graph[node_id]["inputs"].items()
            },
        }
        for node_id in order
    }
    assert needs(renamed, catalog) == needs(graph, catalog)
    assert needs(renamed) == needs(graph)


@settings(deadline=None)
@given(data=st.data())
def test_a_worker_that_a_graph_is_valid_on_lacks_nothing(data, valid_graphs, catalog):
    lacking = catalog.lacks(needs(data.draw(valid_graphs), catalog))
    assert (lacking.classes, lacking.models) == ((), ())
