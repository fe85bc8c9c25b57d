"""Loaders offer what is not on disk yet, in whichever form they say it, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.needs import ModelRef
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.listed import listed

A, B = ModelRef("checkpoints", "a.safetensors"), ModelRef("loras", "sub/b.safetensors")


def loader(spec: Any) -> dict[str, Any]:
    return {"input": {"required": {"ckpt_name": spec}, "optional": {"steps": ["INT", {"min": 1}]}}, "output": ["MODEL"]}


@pytest.mark.parametrize(
    ("spec", "becomes"),
    [
        ([["x.safetensors"], {"tooltip": "t"}], [["x.safetensors", "a.safetensors"], {"tooltip": "t"}]),
        ([[]], [["a.safetensors"]]),
        (["COMBO", {"options": ["x.safetensors"]}], ["COMBO", {"options": ["x.safetensors", "a.safetensors"]}]),
        ([["a.safetensors"]], [["a.safetensors"]]),
        (["STRING", {}], ["STRING", {}]),
    ],
    ids=("older form", "an empty folder", "newer form", "there already", "no combo"),
)
def test_a_loader_offers_it_beside_what_is_there(spec: Any, becomes: Any) -> None:
    before = loader(spec)
    assert listed({"Loader": before}, [A, B]) == {"Loader": loader(becomes)}
    assert before == loader(spec)


def test_the_catalog_then_has_it_and_other_folders_nothing_new() -> None:
    info = {
        "Checkpoints": loader([["x.safetensors"]]),
        "Loras": {"input": {"required": {"lora_name": [[]]}}, "output": ["MODEL"]},
        "Sampler": {"input": {"required": {"sampler": [["euler", "heun"]]}}, "output": ["LATENT"]},
        "odd": None,
    }
    found = Catalog.parse(listed(info, [A, B]))
    assert found.models == {A, B, ModelRef("checkpoints", "x.safetensors")}
    assert listed(info, [A, B])["Sampler"] == info["Sampler"]
