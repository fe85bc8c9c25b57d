"""The workflows that the clients of the Comfy API v2 send in tests."""

from __future__ import annotations

import itertools
from typing import Any

_numbers = itertools.count(1)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def picture() -> dict[str, Any]:
    """Takes no time; no two are the same, so that ComfyUI's cache answers none."""
    return {
        "1": node("EmptyImage", width=32, height=32, batch_size=1, color=next(_numbers)),
        "2": node("SaveImage", images=["1", 0], filename_prefix="pic"),
    }


def loaded(asset: Any) -> dict[str, Any]:
    """A picture that is uploaded, and saved inverted."""
    return {
        "1": node("LoadImage", image=asset),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="inverted"),
    }


def sampled(steps: int) -> dict[str, Any]:
    """Takes `steps` steps of a sampler before its picture is saved."""
    return {
        "4": node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly-fp16.safetensors"),
        "5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "6": node("CLIPTextEncode", text="a lighthouse", clip=["4", 1]),
        "3": node(
            "KSampler", model=["4", 0], positive=["6", 0], negative=["6", 0], latent_image=["5", 0], cfg=1.0,
            sampler_name="euler", scheduler="normal", denoise=1.0, seed=next(_numbers), steps=steps,
        ),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="late"),
    }  # fmt: skip


def early_and_late(steps: int) -> dict[str, Any]:
    """A picture that is there at once, and one behind a sampler that waits for it."""
    return {
        **sampled(steps),
        "1": node("EmptyImage", width=64, height=64, batch_size=1, color=next(_numbers)),
        "2": node("SaveImage", images=["1", 0], filename_prefix="early"),
        "5": node("VAEEncode", pixels=["1", 0], vae=["4", 2]),
    }


def kinds() -> dict[str, Any]:
    """An output of each type that the API knows."""
    return {
        "1": node("EmptyImage", width=64, height=64, batch_size=2, color=next(_numbers)),
        "image": node("SaveImage", images=["1", 0], filename_prefix="kinds"),
        "video": node("SaveWEBM", images=["1", 0], filename_prefix="kinds", codec="vp9", fps=4.0, crf=32.0),
        "2": node("EmptyAudio", duration=0.5, sample_rate=44100, channels=2),
        "audio": node("SaveAudio", audio=["2", 0], filename_prefix="kinds"),
        "3": node("PrimitiveString", value=f"words {next(_numbers)}"),
        "text": node("PreviewAny", source=["3", 0]),
        "4": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "latent": node("SaveLatent", samples=["4", 0], filename_prefix="kinds"),
        "5": node("SimMesh", name=f"mesh {next(_numbers)}"),
        "file": node("SaveGLB", mesh=["5", 0], filename_prefix="kinds"),
    }
