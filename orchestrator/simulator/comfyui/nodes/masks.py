"""Nodes that make and change masks."""

from __future__ import annotations

from PIL import Image, ImageChops

from orchestrator.simulator.comfyui.nodes.registry import node
from orchestrator.simulator.comfyui.run import Run
from orchestrator.simulator.comfyui.values import Images, Masks

CHANNELS = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}


def channel_of(picture: Image.Image, channel: str) -> Image.Image:
    """One band as mode L; an alpha that the picture lacks is fully opaque."""
    band = CHANNELS[channel]
    return picture.getchannel(band) if band in picture.getbands() else Image.new("L", picture.size, 255)


@node("ImageToMask")
def image_to_mask(run: Run, image: Images, channel: str) -> tuple[Masks]:
    return (tuple(channel_of(picture, channel) for picture in image),)


@node("MaskToImage")
def mask_to_image(run: Run, mask: Masks) -> tuple[Images]:
    return (tuple(picture.convert("RGB") for picture in mask),)


@node("SolidMask")
def solid_mask(run: Run, value: float, width: int, height: int) -> tuple[Masks]:
    return ((Image.new("L", (width, height), round(value * 255)),),)


@node("InvertMask")
def invert_mask(run: Run, mask: Masks) -> tuple[Masks]:
    return (tuple(ImageChops.invert(picture) for picture in mask),)
