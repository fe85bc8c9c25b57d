"""Loaders: each reads model files, which costs time and RAM, and hands on weights that nobody computes with."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.simulator.comfyui.nodes.registry import node
from orchestrator.simulator.comfyui.run import Run
from orchestrator.simulator.comfyui.values import Model, Weights, mark

CHECKPOINT_PARTS = {"model": 0.8, "clip": 0.12, "vae": 0.08}
"""Shares of a checkpoint's bytes, about as in SD1.5."""


def _load(run: Run, part: str, folder: str, *names: str) -> Model:
    readings = [run.read_model(folder, name) for name in names]
    weights = tuple(Weights(reading.load, reading.file, part, reading.size) for reading in readings)
    return Model(weights, mark(part, folder, names))


@node("CheckpointLoaderSimple", choices={"ckpt_name": "checkpoints"})
def checkpoint(run: Run, ckpt_name: str) -> tuple[Model, ...]:
    reading = run.read_model("checkpoints", ckpt_name)
    return tuple(
        Model(
            (Weights(reading.load, reading.file, part, round(reading.size * share)),),
            mark(part, "checkpoints", ckpt_name),
        )
        for part, share in CHECKPOINT_PARTS.items()
    )


@node("UNETLoader", choices={"unet_name": "diffusion_models"})
def unet(run: Run, unet_name: str, weight_dtype: str = "default") -> tuple[Model]:
    return (_load(run, "model", "diffusion_models", unet_name),)


@node("CLIPLoader", choices={"clip_name": "text_encoders"})
def clip(run: Run, clip_name: str, type: str = "stable_diffusion", device: str = "default") -> tuple[Model]:
    return (_load(run, "clip", "text_encoders", clip_name),)


@node("DualCLIPLoader", choices=dict.fromkeys(("clip_name1", "clip_name2"), "text_encoders"))
def dual_clip(run: Run, clip_name1: str, clip_name2: str, type: str, device: str = "default") -> tuple[Model]:
    return (_load(run, "clip", "text_encoders", clip_name1, clip_name2),)


@node("TripleCLIPLoader", choices=dict.fromkeys(("clip_name1", "clip_name2", "clip_name3"), "text_encoders"))
def triple_clip(run: Run, clip_name1: str, clip_name2: str, clip_name3: str) -> tuple[Model]:
    return (_load(run, "clip", "text_encoders", clip_name1, clip_name2, clip_name3),)


@node("VAELoader", choices={"vae_name": "vae"})
def vae(run: Run, vae_name: str) -> tuple[Model]:
    if vae_name == "pixel_space":
        return (Model((), mark("vae", vae_name)),)
    return (_load(run, "vae", "vae", vae_name),)


@node("ControlNetLoader", choices={"control_net_name": "controlnet"})
def control_net(run: Run, control_net_name: str) -> tuple[Model]:
    return (_load(run, "control_net", "controlnet", control_net_name),)


@node("UpscaleModelLoader", choices={"model_name": "upscale_models"})
def upscale_model(run: Run, model_name: str) -> tuple[Model]:
    return (_load(run, "upscale_model", "upscale_models", model_name),)


@node("CLIPVisionLoader", choices={"clip_name": "clip_vision"})
def clip_vision(run: Run, clip_name: str) -> tuple[Model]:
    return (_load(run, "clip_vision", "clip_vision", clip_name),)


@node("LoraLoader", choices={"lora_name": "loras"})
def lora(
    run: Run, model: Model, clip: Model, lora_name: str, strength_model: float, strength_clip: float
) -> tuple[Model, Model]:
    if strength_model == strength_clip == 0:
        return model, clip
    run.read_model("loras", lora_name)
    return _patched(model, lora_name, strength_model), _patched(clip, lora_name, strength_clip)


@node("LoraLoaderModelOnly", choices={"lora_name": "loras"})
def lora_model_only(run: Run, model: Model, lora_name: str, strength_model: float) -> tuple[Model]:
    if strength_model == 0:
        return (model,)
    run.read_model("loras", lora_name)
    return (_patched(model, lora_name, strength_model),)


def _patched(model: Model, lora_name: str, strength: float) -> Model:
    """The same weights, but to be moved to VRAM anew: ComfyUI patches them on the way."""
    if strength == 0:
        return model
    patch = f"{lora_name}:{strength}"
    weights = tuple(replace(part, patches=(*part.patches, patch)) for part in model.weights)
    return Model(weights, mark("lora", model.mark, patch))
