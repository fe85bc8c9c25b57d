"""Nodes that read a picture from input/ (or, annotated, from output/ or temp/)."""

from __future__ import annotations

import hashlib

from PIL import Image, ImageChops, ImageOps, ImageSequence

from orchestrator.simulator.comfyui.files import Files
from orchestrator.simulator.comfyui.nodes.masks import channel_of
from orchestrator.simulator.comfyui.nodes.registry import INPUT_IMAGES, node
from orchestrator.simulator.comfyui.run import Run
from orchestrator.simulator.comfyui.values import Images, Masks


def _exists(files: Files, image: str, **_: object) -> bool | str:
    return files.exists(image) or f"Invalid image file: {image}"


def _digest(files: Files, image: str, **_: object) -> str:
    return hashlib.sha256(files.locate(image).read_bytes()).hexdigest()


@node("LoadImage", choices={"image": INPUT_IMAGES}, check=_exists, checked=("image",), fingerprint=_digest)
@node("LoadImageOutput", check=_exists, checked=("image",), fingerprint=_digest)
def load_image(run: Run, image: str) -> tuple[Images, Masks]:
    pictures: list[Image.Image] = []
    masks: list[Image.Image] = []
    with Image.open(run.files.locate(image)) as file:
        for frame in ImageSequence.Iterator(file):
            upright = ImageOps.exif_transpose(frame)
            if pictures and upright.size != pictures[0].size:
                continue
            pictures.append(upright.convert("RGB"))
            masks.append(_mask_of(upright))
    return tuple(pictures), tuple(masks)


@node("LoadImageMask", choices={"image": INPUT_IMAGES}, check=_exists, checked=("image",), fingerprint=_digest)
def load_image_mask(run: Run, image: str, channel: str) -> tuple[Masks]:
    pictures, masks = load_image(run, image)
    return (masks if channel == "alpha" else tuple(channel_of(picture, channel) for picture in pictures),)


def _mask_of(picture: Image.Image) -> Image.Image:
    """What is transparent is masked; a picture without alpha has ComfyUI's small empty mask."""
    if "A" in picture.getbands():
        return ImageChops.invert(picture.getchannel("A"))
    return Image.new("L", (64, 64), 0)
