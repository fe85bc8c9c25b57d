from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

import pytest

from comfy_nodes.provenance import File, Given, Origin, Provenance, attribute


def file(folder: str, name: str = "a.safetensors") -> File:
    return File(folder, name, f"/models/{folder}/{name}")


CHECKPOINT, UNET, VAE, CLIP, LORA = map(file, ("checkpoints", "diffusion_models", "vae", "text_encoders", "loras"))
SECOND_CLIP = file("text_encoders", "b.safetensors")


class Weights:
    """Stands for a torch module."""


@dataclass(eq=False)
class Patcher:
    """As much of ComfyUI's ModelPatcher as is read: a clone knows what it was cloned from."""

    parent: Patcher | None = None


def call(provenance: Provenance, looked_up: list[File], *outputs: Given, size: int = 7) -> None:
    with provenance.call() as files:
        for found in looked_up:
            provenance.looked_up(found)
    provenance.gave_out(files, outputs, lambda _: size)


@pytest.mark.parametrize(
    ("kind", "looked_up", "made_of"),
    [
        ("vae", [VAE], (VAE,)),
        (None, [file("upscale_models")], (file("upscale_models"),)),
        ("text_encoder", [CLIP, SECOND_CLIP, CLIP], (CLIP, SECOND_CLIP)),
        ("diffusion_model", [CHECKPOINT, VAE, LORA], (CHECKPOINT,)),
        ("text_encoder", [CHECKPOINT, VAE, LORA], (CHECKPOINT,)),
        ("vae", [CHECKPOINT, VAE, LORA], (VAE,)),
        ("diffusion_model", [UNET, CLIP, VAE], (UNET,)),
        ("diffusion_model", [file("unet_gguf")], (file("unet_gguf"),)),
        ("diffusion_model", [LORA], ()),
        ("diffusion_model", [], ()),
    ],
)
def test_weights_are_attributed_to_the_files_of_their_kind(
    kind: str | None, looked_up: list[File], made_of: tuple[File, ...]
) -> None:
    assert attribute(kind, looked_up) == made_of


def test_weights_come_from_what_their_first_call_looked_up() -> None:
    provenance, weights = Provenance(), Weights()
    call(provenance, [VAE], Given(weights, kind="vae"), size=9)
    call(provenance, [CLIP], Given(weights, kind="vae"), size=1)
    assert provenance.origin(weights) == Origin((VAE,), "vae", 9)
    assert provenance.file_at(VAE.path) == VAE


def test_weights_that_no_lookup_explains_stay_unexplained() -> None:
    provenance, weights = Provenance(), Weights()
    call(provenance, [], Given(weights, kind="diffusion_model"))
    call(provenance, [CHECKPOINT], Given(weights, kind="diffusion_model"))
    assert provenance.origin(weights) == Origin((), "diffusion_model", 7)


def test_lookups_outside_of_a_call_and_of_no_models_count_for_nothing() -> None:
    provenance, weights = Provenance(), Weights()
    provenance.looked_up(VAE)
    call(provenance, [file("configs", "v1.yaml"), CHECKPOINT], Given(weights))
    provenance.looked_up(CLIP)
    assert provenance.origin(weights) == Origin((CHECKPOINT,), None, 7)
    assert provenance.file_at(VAE.path) is None


def test_a_call_within_a_call_keeps_its_lookups_to_itself() -> None:
    provenance = Provenance()
    with provenance.call() as outer:
        provenance.looked_up(VAE)
        with provenance.call() as inner:
            provenance.looked_up(CLIP)
        provenance.looked_up(LORA)
    assert (outer, inner) == ([VAE, LORA], [CLIP])


def test_clones_add_their_patches_to_those_of_their_parents() -> None:
    provenance, weights = Provenance(), Weights()
    loaded = Patcher()
    first, between, second = Patcher(loaded), Patcher(), Patcher()
    between.parent, second.parent = first, between  # a clone that no node gave out lies between
    other = file("loras", "b.safetensors")
    call(provenance, [CHECKPOINT], Given(weights, loaded))
    call(provenance, [LORA], Given(weights, first))
    call(provenance, [other], Given(weights, second))
    assert provenance.patches(loaded) == ()
    assert provenance.patches(first) == (LORA,)
    assert provenance.patches(second) == (LORA, other)
    assert provenance.patches(None) == ()


def test_a_node_that_passes_a_model_on_adds_nothing_to_it() -> None:
    provenance, weights, patcher = Provenance(), Weights(), Patcher()
    call(provenance, [CHECKPOINT], Given(weights, patcher))
    call(provenance, [LORA], Given(weights, patcher))
    assert provenance.patches(patcher) == ()


def test_a_loader_of_everything_tells_models_from_their_patches() -> None:
    provenance = Provenance()
    model, clip, vae = Weights(), Weights(), Weights()
    patchers = Patcher(), Patcher(), Patcher()
    outputs = (
        Given(model, patchers[0], "diffusion_model"),
        Given(clip, patchers[1], "text_encoder"),
        Given(vae, patchers[2], "vae"),
    )
    call(provenance, [CHECKPOINT, LORA, VAE], *outputs)
    assert [provenance.patches(patcher) for patcher in patchers] == [(LORA,)] * 3
    origins = [provenance.origin(weights) for weights in (model, clip, vae)]
    assert [origin.files for origin in origins if origin] == [(CHECKPOINT,), (CHECKPOINT,), (VAE,)]


def test_nothing_is_kept_alive() -> None:
    provenance, weights, patcher = Provenance(), Weights(), Patcher()
    call(provenance, [CHECKPOINT, LORA], Given(weights, patcher))
    watched = weakref.ref(weights), weakref.ref(patcher)
    del weights, patcher
    gc.collect()
    assert [alive() for alive in watched] == [None, None]
