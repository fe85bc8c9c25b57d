"""Samplers: they take steps that cost time, report each, see interrupts between two of them, and paint a picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from orchestrator.simulator.comfyui.nodes.registry import node
from orchestrator.simulator.comfyui.run import Preview, Run
from orchestrator.simulator.comfyui.values import (
    Conditioning,
    Frame,
    Guider,
    Images,
    Latent,
    Masks,
    Model,
    Noise,
    Sampler,
    Sigmas,
    Weights,
    mark,
)

UPSCALE_TILE = 512
UPSCALE_FACTOR = 4


@node("KSampler")
def k_sampler(
    run: Run,
    model: Model,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: float = 1.0,
) -> tuple[Latent]:
    settings = mark("ksampler", model.mark, seed, cfg, sampler_name, scheduler, positive.mark, negative.mark)
    run.place((*model.weights, *positive.control, *negative.control))
    return (_sample(run, settings, range(steps), steps, denoise, latent_image),)


@node("KSamplerAdvanced")
def k_sampler_advanced(
    run: Run,
    model: Model,
    add_noise: str,
    noise_seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: int,
    end_at_step: int,
    return_with_leftover_noise: str,
) -> tuple[Latent]:
    settings = mark("ksampler", model.mark, noise_seed, cfg, sampler_name, scheduler, positive.mark, negative.mark)
    run.place((*model.weights, *positive.control, *negative.control))
    taken = range(min(start_at_step, steps), min(end_at_step, steps))
    denoise = len(taken) / steps if start_at_step else 1.0
    return (_sample(run, mark(settings, add_noise, taken), taken, len(taken), denoise, latent_image),)


@node("SamplerCustom")
def sampler_custom(
    run: Run,
    model: Model,
    add_noise: bool,
    noise_seed: int,
    cfg: float,
    positive: Conditioning,
    negative: Conditioning,
    sampler: Sampler,
    sigmas: Sigmas,
    latent_image: Latent,
) -> tuple[Latent, Latent]:
    guider = cfg_guider(run, model, positive, negative, cfg)[0]
    return sampler_custom_advanced(run, Noise(noise_seed if add_noise else 0), guider, sampler, sigmas, latent_image)


@node("SamplerCustomAdvanced")
def sampler_custom_advanced(
    run: Run, noise: Noise, guider: Guider, sampler: Sampler, sigmas: Sigmas, latent_image: Latent
) -> tuple[Latent, Latent]:
    run.place((*guider.model.weights, *guider.control))
    settings = mark("custom", guider.mark, noise, sampler, sigmas)
    sampled = _sample(run, settings, range(sigmas.steps), sigmas.steps, sigmas.denoise, latent_image)
    return sampled, sampled


@node("RandomNoise")
def random_noise(run: Run, noise_seed: int) -> tuple[Noise]:
    return (Noise(noise_seed),)


@node("KSamplerSelect")
def k_sampler_select(run: Run, sampler_name: str) -> tuple[Sampler]:
    return (Sampler(sampler_name),)


@node("BasicScheduler")
def basic_scheduler(run: Run, model: Model, scheduler: str, steps: int, denoise: float) -> tuple[Sigmas]:
    return (Sigmas(scheduler, steps if denoise > 0 else 0, denoise),)


@node("BasicGuider")
def basic_guider(run: Run, model: Model, conditioning: Conditioning) -> tuple[Guider]:
    return (Guider(model, mark("guider", model.mark, conditioning.mark), conditioning.control),)


@node("CFGGuider")
def cfg_guider(run: Run, model: Model, positive: Conditioning, negative: Conditioning, cfg: float) -> tuple[Guider]:
    control: tuple[Weights, ...] = positive.control + negative.control
    return (Guider(model, mark("guider", model.mark, positive.mark, negative.mark, cfg), control),)


@node("ModelSamplingFlux", "ModelSamplingSD3")
def model_sampling(run: Run, model: Model, **settings: float) -> tuple[Model]:
    return (Model(model.weights, mark("sampling", model.mark, sorted(settings.items()))),)


@node("ImageUpscaleWithModel")
def image_upscale_with_model(run: Run, upscale_model: Model, image: Images) -> tuple[Images]:
    """Four times the size, tile by tile."""
    run.place(upscale_model.weights)
    width, height = image[0].size
    tiles = -(-width // UPSCALE_TILE) * -(-height // UPSCALE_TILE) * len(image)
    progress = run.progress(tiles)
    for tile in range(tiles):
        run.machine.wait(run.machine.config.step_seconds)
        progress.update(tile + 1)
    size = width * UPSCALE_FACTOR, height * UPSCALE_FACTOR
    return (tuple(picture.resize(size, Image.Resampling.LANCZOS) for picture in image),)


def _sample(run: Run, settings: bytes, steps: Sequence[int], total: int, denoise: float, latent: Latent) -> Latent:
    frames = tuple(
        Frame(mark(settings, index, before.mark), before, denoise, mask=_mask(latent.masks, index))
        for index, before in enumerate(latent.frames)
    )
    progress = run.progress(total)
    for done, _ in enumerate(steps, start=1):
        run.machine.wait(run.machine.config.step_seconds)
        progress.update(done, Preview(frames[0].decode((latent.width, latent.height))) if run.previews else None)
    return Latent(latent.width, latent.height, frames if steps else latent.frames, latent.masks)


def _mask(masks: Masks, index: int) -> Image.Image | None:
    return masks[index % len(masks)] if masks else None
