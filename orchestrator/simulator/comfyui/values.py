"""What flows between nodes: pictures that are real, and models, prompts and latents that are only marks.

A mark is a digest of everything that would have influenced the result, so that a sampled picture is a function of
prompt, seed, model and settings, and of nothing else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from PIL import Image

Images = tuple[Image.Image, ...]
"""A batch; mode RGB or RGBA."""
Masks = tuple[Image.Image, ...]
"""A batch; mode L, white is masked."""

LATENT_CELL = 8
"""Pixels to a side of one latent cell."""


def mark(*parts: object) -> bytes:
    """A digest of parts, which must have reprs that say all of them."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


def mark_of(images: Images) -> bytes:
    """A digest of pictures."""
    digest = hashlib.blake2b(digest_size=16)
    for picture in images:
        digest.update(picture.tobytes())
    return digest.digest()


def paint(seed: bytes, size: tuple[int, int]) -> Image.Image:
    """A picture that is different for every mark: soft clouds of colour."""
    cells = Image.frombytes("RGB", (8, 8), hashlib.shake_256(seed).digest(192))
    return cells.resize(size, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Weights:
    """A part of a model file that moves between RAM and VRAM as one."""

    load: int
    """Which reading of the file it came from; see residency."""
    file: str
    part: str
    size: int
    patches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """A diffusion model, text encoder, VAE, ControlNet, upscaler...: its weights, and what was done to it."""

    weights: tuple[Weights, ...]
    mark: bytes


@dataclass(frozen=True)
class Conditioning:
    mark: bytes
    control: tuple[Weights, ...] = ()
    """ControlNets that have to be in VRAM when it is sampled."""


@dataclass(frozen=True)
class Frame:
    """One latent picture: painted over another to the degree of its denoise, or encoded from pixels, or empty."""

    mark: bytes = b""
    under: Frame | None = None
    denoise: float = 1.0
    pixels: Image.Image | None = None
    mask: Image.Image | None = None

    def decode(self, size: tuple[int, int]) -> Image.Image:
        if self.pixels is not None:
            return self.pixels if self.pixels.size == size else self.pixels.resize(size, Image.Resampling.BILINEAR)
        if not self.mark:
            return Image.new("RGB", size, (127, 127, 127))
        picture = paint(self.mark, size)
        if self.under is None or (self.denoise >= 1.0 and self.mask is None):
            return picture
        before = self.under.decode(size)
        picture = Image.blend(before, picture, min(self.denoise, 1.0))
        return Image.composite(picture, before, self.mask.resize(size)) if self.mask is not None else picture


@dataclass(frozen=True)
class Latent:
    width: int
    """In cells."""
    height: int
    frames: tuple[Frame, ...]
    masks: Masks = ()
    """Where sampling may change the picture; everywhere when empty."""

    @property
    def pixel_size(self) -> tuple[int, int]:
        return self.width * LATENT_CELL, self.height * LATENT_CELL


@dataclass(frozen=True)
class Audio:
    seconds: float
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class Noise:
    seed: int


@dataclass(frozen=True)
class Guider:
    model: Model
    mark: bytes
    control: tuple[Weights, ...] = ()


@dataclass(frozen=True)
class Sampler:
    name: str


@dataclass(frozen=True)
class Sigmas:
    scheduler: str
    steps: int
    denoise: float


@dataclass(frozen=True)
class ClipVisionOutput:
    mark: bytes
