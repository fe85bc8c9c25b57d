"""Latents: empty, scaled, repeated, masked; and the VAE that turns them into pictures and back."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.simulator.comfyui.nodes.registry import node
from orchestrator.simulator.comfyui.run import Run
from orchestrator.simulator.comfyui.values import LATENT_CELL, Frame, Images, Latent, Masks, Model


@node("EmptyLatentImage", "EmptySD3LatentImage")
def empty_latent(run: Run, width: int, height: int, batch_size: int = 1) -> tuple[Latent]:
    return (Latent(width // LATENT_CELL, height // LATENT_CELL, (Frame(),) * batch_size),)


@node("LatentUpscale")
def latent_upscale(run: Run, samples: Latent, upscale_method: str, width: int, height: int, crop: str) -> tuple[Latent]:
    if not width and not height:
        return (samples,)
    wide = width or round(samples.width * max(64, height) / samples.height)
    high = height or round(samples.height * max(64, width) / samples.width)
    return (replace(samples, width=max(64, wide) // LATENT_CELL, height=max(64, high) // LATENT_CELL),)


@node("LatentUpscaleBy")
def latent_upscale_by(run: Run, samples: Latent, upscale_method: str, scale_by: float) -> tuple[Latent]:
    return (replace(samples, width=round(samples.width * scale_by), height=round(samples.height * scale_by)),)


@node("RepeatLatentBatch")
def repeat_latent_batch(run: Run, samples: Latent, amount: int) -> tuple[Latent]:
    return (replace(samples, frames=samples.frames * amount),)


@node("LatentFromBatch")
def latent_from_batch(run: Run, samples: Latent, batch_index: int, length: int) -> tuple[Latent]:
    count = len(samples.frames)
    start = min(batch_index if batch_index >= 0 else max(count + batch_index, 0), count - 1)
    return (replace(samples, frames=samples.frames[start : start + length]),)


@node("LatentBatch")
def latent_batch(run: Run, samples1: Latent, samples2: Latent) -> tuple[Latent]:
    return (replace(samples1, frames=samples1.frames + samples2.frames),)


@node("SetLatentNoiseMask")
def set_latent_noise_mask(run: Run, samples: Latent, mask: Masks) -> tuple[Latent]:
    return (replace(samples, masks=mask),)


@node("VAEEncode", "VAEEncodeTiled")
def vae_encode(run: Run, pixels: Images, vae: Model, **tiling: int) -> tuple[Latent]:
    run.place(vae.weights)
    width, height = (side // LATENT_CELL for side in pixels[0].size)
    return (Latent(width, height, tuple(Frame(pixels=picture.convert("RGB")) for picture in pixels)),)


@node("VAEEncodeForInpaint")
def vae_encode_for_inpaint(run: Run, pixels: Images, vae: Model, mask: Masks, grow_mask_by: int = 6) -> tuple[Latent]:
    (latent,) = vae_encode(run, pixels, vae)
    return (replace(latent, masks=mask),)


@node("VAEDecode", "VAEDecodeTiled")
def vae_decode(run: Run, samples: Latent, vae: Model, **tiling: int) -> tuple[Images]:
    run.place(vae.weights)
    return (tuple(frame.decode(samples.pixel_size) for frame in samples.frames),)
