from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.simulator.comfyui.config import PROFILES, SimConfig
from orchestrator.simulator.comfyui.files import Files
from orchestrator.simulator.comfyui.nodes import NodeClasses
from orchestrator.simulator.comfyui.nodes.registry import IMPLEMENTATIONS
from orchestrator.simulator.comfyui.values import Frame, mark

VERSIONS = sorted(PROFILES)


def classes(tmp_path: Path, version: str = "0.33.0", **options: Any) -> NodeClasses:
    return NodeClasses(SimConfig(version=version, **options), Files(tmp_path))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_class_of_every_version_can_be_called_with_its_inputs(tmp_path: Path, version: str) -> None:
    known = classes(tmp_path, version)
    assert set(known) == set(IMPLEMENTATIONS)
    for name, node_class in known.items():
        function = inspect.signature(node_class.implementation.function)
        function.bind(None, **node_class.required)
        function.bind(None, **node_class.required, **node_class.optional)
        chosen = node_class.implementation.choices.keys() | set(node_class.implementation.checked)
        assert chosen <= node_class.required.keys(), name


@pytest.mark.parametrize("version", VERSIONS)
def test_loaders_offer_the_files_there_are(tmp_path: Path, version: str) -> None:
    models = {"vae": {"b": 1, "a": 1}, "upscale_models": {"u": 1}}
    known = classes(tmp_path, version, models=models)
    info = known.object_info(["VAELoader", "UpscaleModelLoader", "CheckpointLoaderSimple"])
    assert info["VAELoader"]["input"]["required"]["vae_name"][0] == ["a", "b", "pixel_space"]
    assert info["UpscaleModelLoader"]["input"]["required"]["model_name"][1]["options"] == ["u"]
    assert info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0] == []
    assert known["VAELoader"].required["vae_name"][0] == ["a", "b", "pixel_space"]


def test_image_inputs_offer_the_files_of_the_moment(tmp_path: Path) -> None:
    known = classes(tmp_path)
    (tmp_path / "input" / "new.png").touch()
    assert known.object_info(["LoadImage"])["LoadImage"]["input"]["required"]["image"][0] == ["new.png"]
    assert known.object_info(["NoSuchNode"]) == {}


def test_a_picture_is_a_function_of_its_mark() -> None:
    first, same, other = (Frame(mark("a cat", seed)).decode((64, 48)) for seed in (1, 1, 2))
    assert first.size == (64, 48)
    assert first.tobytes() == same.tobytes() != other.tobytes()


def test_denoise_says_how_much_of_the_picture_below_stays() -> None:
    below = Frame(pixels=Image.new("RGB", (8, 8), "white"))
    painted = Frame(mark(1)).decode((8, 8))
    assert Frame(mark(1), below, denoise=1.0).decode((8, 8)).tobytes() == painted.tobytes()
    half = Frame(mark(1), below, denoise=0.5).decode((8, 8))
    assert half.tobytes() == Image.blend(below.decode((8, 8)), painted, 0.5).tobytes()


def test_only_what_is_masked_is_painted() -> None:
    below = Frame(pixels=Image.new("RGB", (8, 8), "white"))
    mask = Image.new("L", (8, 8), 0)
    mask.paste(255, (0, 0, 4, 8))
    picture = Frame(mark(1), below, mask=mask).decode((8, 8))
    assert picture.crop((4, 0, 8, 8)).getcolors() == [(32, (255, 255, 255))]
    assert picture.crop((0, 0, 4, 8)).getcolors() != [(32, (255, 255, 255))]
