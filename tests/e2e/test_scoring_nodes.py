"""The scoring nodes in a real ComfyUI, on real photographs: what they say is in the run's history."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copy, copytree
from typing import Any

import jsonschema
import pytest
import pytest_asyncio
from PIL import Image

from tests.fixtures import tiny_encoders
from tests.fixtures.real_comfyui import RealComfyUI, find_comfyui, running_comfyui

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PACK = Path(__file__).parents[2] / "comfy_nodes"
SCHEMA = json.loads((PACK / "report.schema.json").read_text("utf-8"))
PHOTOGRAPHS = ("astronaut.png", "coffee.png")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def comfyui(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealComfyUI]:
    directory = tmp_path_factory.mktemp("scoring") / "comfyui"
    (directory / "input").mkdir(parents=True)
    for name in PHOTOGRAPHS:
        with as_file(files("skimage.data") / name) as path:
            copy(path, directory / "input" / name)
    models = directory.parent / "models"
    maker = Path(tiny_encoders.__file__)
    subprocess.run([find_comfyui().python, maker, models / "quality"], check=True, capture_output=True)
    async with running_comfyui(directory, packs={"comfyfleet": PACK}, models=models) as running:
        yield running


def load(name: str) -> dict[str, Any]:
    return {"class_type": "LoadImage", "inputs": {"image": name}}


async def report_of(comfyui: RealComfyUI, graph: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The one report of a run, by dimension."""
    entry = await comfyui.run(graph)
    [report] = next(output for output in entry["outputs"].values() if "fleet_report" in output)["fleet_report"]
    jsonschema.validate(report, SCHEMA)
    return {score["dimension"]: score for score in report["scores"]}


async def test_every_measuring_node_scores_a_photograph(comfyui: RealComfyUI) -> None:
    graph = {
        "1": load(PHOTOGRAPHS[0]),
        "2": {"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "blur_radius": 6, "sigma": 3.0}},
        "3": {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["2", 0]}},
        "4": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 512, "height": 512}},
        "5": {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 512, "height": 512}},
        "6": {
            "class_type": "MaskComposite",
            "inputs": {"destination": ["5", 0], "source": ["4", 0], "x": 256, "y": 256, "operation": "add"},
        },
        "10": {"class_type": "FleetSharpness", "inputs": {"images": ["3", 0]}},
        "11": {"class_type": "FleetArtifacts", "inputs": {"images": ["10", 0]}},
        "12": {"class_type": "FleetComposition", "inputs": {"images": ["3", 0]}},
        "13": {"class_type": "FleetBrandColor", "inputs": {"images": ["3", 0], "colors": "#f60", "coverage": 0.02}},
        "14": {"class_type": "FleetReferenceSimilarity", "inputs": {"images": ["3", 0], "reference": ["1", 0]}},
        "15": {
            "class_type": "FleetBackgroundConsistency",
            "inputs": {"images": ["3", 0], "reference": ["1", 0], "mask": ["6", 0]},
        },
        "16": {
            "class_type": "FleetGarmentAccuracy",
            "inputs": {"images": ["3", 0], "mask": ["4", 0], "reference": ["1", 0]},
        },
        "20": {
            "class_type": "FleetReport",
            "inputs": {f"score_{number}": [str(9 + number), 1] for number in range(1, 8)},
        },
    }
    scores = await report_of(comfyui, graph)
    assert len(scores) == 7
    for dimension, score in scores.items():
        assert [image["reason"] for image in score["images"]] == ["", ""], dimension
    for dimension in ("sharpness", "reference_similarity", "background_consistency", "garment_accuracy"):
        original, blurred = (image["value"] for image in scores[dimension]["images"])
        assert original > blurred + 0.3, dimension


async def test_every_encoding_node_scores_with_weights_from_models_quality(comfyui: RealComfyUI) -> None:
    node = encoded_by("1")
    alone, batch = await report_of(comfyui, node), await report_of(comfyui, encoded_by("3"))
    assert (
        alone.keys()
        == batch.keys()
        == {"prompt_alignment", "expression", "safety", "text_legibility", "garment_accuracy"}
    )
    for dimension, score in batch.items():
        assert [image["value"] is not None for image in score["images"]] == [True, True], score
        single = alone[dimension]["images"][0]
        assert score["images"][0]["value"] == pytest.approx(single["value"], abs=1e-3), dimension
    assert batch["safety"]["images"][0]["details"].keys() == {"neutral", "happy", "nsfw"}
    shown = (await comfyui.get("/fleet/residency"))["models"]
    assert {("quality", "tiny-clip/model.safetensors")} <= {
        (model["folder"], model["name"]) for model in shown
    } or not shown


@pytest.mark.parametrize("encoder", ["tiny-clip", "tiny-clip-of-openai", "tiny-siglip", "tiny-siglip2"])
async def test_every_layout_of_an_encoder_of_texts_is_read(comfyui: RealComfyUI, encoder: str) -> None:
    images = []
    for prompt in ("a photo of an astronaut", "A photo of an  astronaut!", "zebra"):
        graph = {"1": load(PHOTOGRAPHS[0]), "10": scorer("FleetPromptAlignment", prompt=prompt, encoder=encoder)}
        graph["20"] = reporting(["10"])
        images += (await report_of(comfyui, graph))["prompt_alignment"]["images"]
    assert [image["reason"] for image in images] == ["", "", ""]
    assert images[0]["raw"] != images[2]["raw"]
    if encoder == "tiny-siglip":  # it reads neither case nor punctuation
        assert images[0]["raw"] == images[1]["raw"]


def swap_weights(folder: Path) -> None:
    copy(folder.parent / "tiny-dinov2" / "model.safetensors", folder)


def halve_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (halve_weights, "cannot be read: put its config.json and model.safetensors there again"),
    "empty": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "model.safetensors there again"),
    "swapped": (swap_weights, "they are of another network than its config.json"),
    "pickled": (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "no pickles"),
    "unprepared": (lambda folder: (folder / "preprocessor_config.json").unlink(), "put its preprocessor_config.json"),
    "silent": (lambda folder: [file.unlink() for file in folder.glob("token*")], "put its tokenizer.json"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("[1]"), "put its config.json there again"),
    "siglip2": (lambda folder: (folder / "config.json").write_text('{"model_type": "siglip2"}'), "is of type siglip2"),
    "写真 ü": (lambda folder: folder, ""),
}


async def test_what_is_wrong_with_an_encoder_s_folder_is_told(comfyui: RealComfyUI) -> None:
    models = comfyui.directory / "models" / "quality"
    graph = {"1": load(PHOTOGRAPHS[0])}
    for number, (name, (damage, _)) in enumerate(DAMAGES.items(), 10):
        copytree(models / "tiny-clip", models / name)
        damage(models / name)
        graph[str(number)] = scorer("FleetPromptAlignment", prompt="a photo", encoder=name)
    entry = await comfyui.run(graph | {"30": reporting([node for node in graph if node != "1"])})
    [report] = entry["outputs"]["30"]["fleet_report"]
    reasons = [score["images"][0]["reason"] for score in report["scores"]]
    for (name, (_, told)), reason in zip(DAMAGES.items(), reasons, strict=True):
        assert told in reason, name
    assert reasons[-1] == ""


async def test_missing_weights_fail_the_score_and_not_the_run(comfyui: RealComfyUI) -> None:
    graph = {
        "1": load(PHOTOGRAPHS[0]),
        "10": scorer("FleetPromptAlignment", prompt="a photo", encoder="a-clip-that-nobody-has"),
        "11": scorer("FleetFaceFidelity", reference=["1", 0], encoder="buffalo_l"),
        "12": scorer("FleetSafety", unsafe="gore", encoder="tiny-classifier"),
        "13": scorer("FleetSharpness"),
        "20": reporting(["10", "11", "12", "13"]),
    }
    scores = await report_of(comfyui, graph)
    reasons = {dimension: score["images"][0]["reason"] for dimension, score in scores.items()}
    assert "models/quality" in reasons["prompt_alignment"]
    assert "models/insightface/models/buffalo_l" in reasons["face_fidelity"]
    assert reasons["safety"] == "the classifier has no label 'gore'; it has happy, neutral, nsfw"
    assert reasons["sharpness"] == ""
    assert scores["sharpness"]["images"][0]["value"] > 0.5


async def test_the_gate_computes_only_what_it_passes_on(comfyui: RealComfyUI) -> None:
    score = {"class_type": "FleetSharpness", "inputs": {"images": ["1", 0]}}
    save = {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "gate"}}
    graph = {"1": load(PHOTOGRAPHS[0]), "2": load(PHOTOGRAPHS[1]), "3": score, "5": save}
    graph["6"] = gate("artifacts: 0.5", images=["1", 0])  # fails if it is computed: nothing scored artifacts

    passed = await comfyui.run(graph | {"4": gate("sharpness: 0.5", images=["1", 0], otherwise=["6", 0])})
    assert size_of_saved(comfyui, passed) == (512, 512)
    missed = await comfyui.run(graph | {"4": gate("sharpness: 1", images=["6", 0], otherwise=["2", 0])})
    assert size_of_saved(comfyui, missed) == (600, 400)
    blocked = await comfyui.run(graph | {"4": gate("sharpness: 1", images=["1", 0])})
    assert "5" not in blocked["outputs"]


async def test_comfyui_has_nothing_to_complain_of(comfyui: RealComfyUI) -> None:
    said = [line for line in comfyui.log.splitlines() if "comfyfleet" in line or "comfy_nodes" in line]
    assert len(said) == 1, said
    assert "seconds: " in said[0]  # to import it


def gate(thresholds: str, **images: list[Any]) -> dict[str, Any]:
    inputs = {"scores": ["3", 1], "thresholds": thresholds, "unscored": "block", **images}
    return {"class_type": "FleetGate", "inputs": inputs}


def size_of_saved(comfyui: RealComfyUI, entry: dict[str, Any]) -> tuple[int, int]:
    [saved] = entry["outputs"]["5"]["images"]
    with Image.open(comfyui.directory / "output" / saved["filename"]) as image:
        return image.size


def encoded_by(images: str) -> dict[str, Any]:
    """A graph with each node that needs an encoder (a face pack aside, which cannot be made here)."""
    return {
        "1": load(PHOTOGRAPHS[0]),
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["2", 0]}},
        "4": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 512, "height": 512}},
        "10": scorer("FleetPromptAlignment", images, prompt="a photo of an astronaut", encoder="tiny-clip"),
        "11": scorer("FleetExpression", images, wanted="happy", encoder="tiny-classifier", faces="none"),
        "12": scorer("FleetSafety", images, unsafe="nsfw", encoder="tiny-classifier"),
        "13": scorer("FleetTextLegibility", images, text="two\nlines", encoder="tiny-trocr"),
        "14": scorer("FleetGarmentAccuracy", images, mask=["4", 0], reference=["1", 0], encoder="tiny-dinov2"),
        "20": reporting(["10", "11", "12", "13", "14"]),
    }


def scorer(class_type: str, images: str = "1", **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": {"images": [images, 0], **inputs}}


def reporting(scorers: list[str]) -> dict[str, Any]:
    return {"class_type": "FleetReport", "inputs": {f"score_{n}": [node, 1] for n, node in enumerate(scorers, 1)}}
