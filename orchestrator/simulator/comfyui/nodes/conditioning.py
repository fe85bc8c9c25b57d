"""Text encoders and what changes their result: every one adds its inputs to the conditioning's mark."""

from __future__ import annotations

from typing import Any

from orchestrator.simulator.comfyui.nodes.registry import node
from orchestrator.simulator.comfyui.run import Run
from orchestrator.simulator.comfyui.values import (
    ClipVisionOutput,
    Conditioning,
    Frame,
    Images,
    Latent,
    Masks,
    Model,
    mark,
    mark_of,
)


@node("CLIPTextEncode", "CLIPTextEncodeSDXL", "CLIPTextEncodeSDXLRefiner", "CLIPTextEncodeFlux")
def encode_text(run: Run, clip: Model, **settings: Any) -> tuple[Conditioning]:
    run.place(clip.weights)
    return (Conditioning(mark("text", clip.mark, sorted(settings.items()))),)


@node("CLIPSetLastLayer")
def clip_set_last_layer(run: Run, clip: Model, stop_at_clip_layer: int) -> tuple[Model]:
    return (Model(clip.weights, mark("layer", clip.mark, stop_at_clip_layer)),)


@node("CLIPVisionEncode")
def clip_vision_encode(run: Run, clip_vision: Model, image: Images, crop: str) -> tuple[ClipVisionOutput]:
    run.place(clip_vision.weights)
    return (ClipVisionOutput(mark("vision", clip_vision.mark, mark_of(image), crop)),)


@node("ConditioningCombine")
def combine(run: Run, conditioning_1: Conditioning, conditioning_2: Conditioning) -> tuple[Conditioning]:
    return (_joined("combine", conditioning_1, conditioning_2),)


@node("ConditioningConcat")
def concat(run: Run, conditioning_to: Conditioning, conditioning_from: Conditioning) -> tuple[Conditioning]:
    return (_joined("concat", conditioning_to, conditioning_from),)


@node("ConditioningAverage")
def average(
    run: Run, conditioning_to: Conditioning, conditioning_from: Conditioning, conditioning_to_strength: float
) -> tuple[Conditioning]:
    return (_joined("average", conditioning_to, conditioning_from, conditioning_to_strength),)


@node("ConditioningZeroOut", "ConditioningSetTimestepRange", "FluxGuidance")
def adjust(run: Run, conditioning: Conditioning, **settings: float) -> tuple[Conditioning]:
    return (Conditioning(mark("adjust", conditioning.mark, sorted(settings.items())), conditioning.control),)


@node("ControlNetApply")
def control_net_apply(
    run: Run, conditioning: Conditioning, control_net: Model, image: Images, strength: float
) -> tuple[Conditioning]:
    return (_controlled(conditioning, control_net, image, strength),)


@node("ControlNetApplyAdvanced")
def control_net_apply_advanced(
    run: Run,
    positive: Conditioning,
    negative: Conditioning,
    control_net: Model,
    image: Images,
    strength: float,
    start_percent: float,
    end_percent: float,
    vae: Model | None = None,
) -> tuple[Conditioning, Conditioning]:
    settings = strength, start_percent, end_percent, vae and vae.mark
    return _controlled(positive, control_net, image, *settings), _controlled(negative, control_net, image, *settings)


@node("InpaintModelConditioning")
def inpaint_model_conditioning(
    run: Run,
    positive: Conditioning,
    negative: Conditioning,
    vae: Model,
    pixels: Images,
    mask: Masks,
    noise_mask: bool = True,
) -> tuple[Conditioning, Conditioning, Latent]:
    run.place(vae.weights)
    width, height = (side // 8 for side in pixels[0].size)
    latent = Latent(width, height, tuple(Frame(pixels=picture) for picture in pixels), mask if noise_mask else ())
    painted = mark_of(pixels + mask)
    first, second = (Conditioning(mark(each.mark, painted), each.control) for each in (positive, negative))
    return first, second, latent


def _joined(how: str, first: Conditioning, second: Conditioning, *settings: object) -> Conditioning:
    return Conditioning(mark(how, first.mark, second.mark, settings), first.control + second.control)


def _controlled(conditioning: Conditioning, net: Model, image: Images, *settings: object) -> Conditioning:
    if settings[0] == 0:
        return conditioning
    applied = mark("control", conditioning.mark, net.mark, mark_of(image), settings)
    return Conditioning(applied, conditioning.control + net.weights)
