"""The jobs that the bench sends. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
TINY: Mapping[str, Mapping[str, int]] = {"checkpoints": {CHECKPOINT: 1_000_000}}
"""Models so small that an idle worker is always preferred to one that holds them."""


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def _sampler(model: str, positive: str, negative: str, latent: str, steps: int, denoise: float) -> dict[str, Any]:
    return _node(
        "KSampler", model=[model, 0], positive=[positive, 0], negative=[negative, 0], latent_image=[latent, 0],
        seed=1, steps=steps, cfg=7.0, sampler_name="euler", scheduler="normal", denoise=denoise,
    )  # fmt: skip


TRIVIAL: Mapping[str, Any] = {
    "1": _node("EmptyImage", width=512, height=512, batch_size=1, color=3368601),
    "2": _node("SaveImage", images=["1", 0], filename_prefix="bench"),
}
SMALL: Mapping[str, Any] = {**TRIVIAL, "1": _node("EmptyImage", width=64, height=64, batch_size=1, color=3368601)}

# Two passes, as people use them: ten nodes with links of every type, combos, ranges and a model.
TEN_NODES: Mapping[str, Any] = {
    "1": _node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
    "2": _node("CLIPTextEncode", clip=["1", 1], text="a lighthouse"),
    "3": _node("CLIPTextEncode", clip=["1", 1], text="blurry"),
    "4": _node("EmptyLatentImage", width=512, height=512, batch_size=1),
    "5": _sampler("1", "2", "3", "4", 20, 1.0),
    "6": _node("LatentUpscale", samples=["5", 0], upscale_method="bilinear", width=768, height=768, crop="disabled"),
    "7": _sampler("1", "2", "3", "6", 10, 0.5),
    "8": _node("VAEDecode", samples=["7", 0], vae=["1", 2]),
    "9": _node("ImageScale", image=["8", 0], upscale_method="lanczos", width=1024, height=1024, crop="disabled"),
    "10": _node("SaveImage", images=["9", 0], filename_prefix="bench"),
}
# A run of about 50 ms with two steps of 20 ms; the seed keeps ComfyUI from answering out of its cache.
STEADY: Mapping[str, Any] = {
    "1": TEN_NODES["1"], "2": TEN_NODES["2"], "3": TEN_NODES["3"],
    "4": _node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "5": _sampler("1", "2", "3", "4", 2, 1.0),
    "6": _node("VAEDecode", samples=["5", 0], vae=["1", 2]),
    "7": _node("SaveImage", images=["6", 0], filename_prefix="bench"),
}  # fmt: skip


def long(steps: int, seed: int) -> Mapping[str, Any]:
    """A raw graph that no ComfyUI answers out of its cache."""
    sampler = STEADY["5"]
    return {**STEADY, "5": {**sampler, "inputs": {**sampler["inputs"], "steps": steps, "seed": seed}}}


_SEED = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
WORKFLOWS: tuple[Mapping[str, Any], ...] = (
    {
        "name": "ten-nodes", "graph": TEN_NODES, "bind": {"prompt": "2.text", "seed": "5.seed", "steps": "5.steps"},
        "params": {
            "type": "object", "required": ["prompt"],
            "properties": {
                "prompt": {"type": "string", "minLength": 1}, "seed": _SEED,
                "steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 20},
            },
        },
    },
    {
        "name": "steady", "graph": STEADY, "bind": {"seed": "5.seed"},
        "params": {"type": "object", "properties": {"seed": _SEED}},
    },
)  # fmt: skip
