"""From whatever a graph hands over to pictures that measures can trust: H x W x 3, float32, 0..1, finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from . import Broken, Unscorable

Picture = npt.NDArray[np.floating[Any]]
"""H x W x 3, sRGB, float32, 0..1."""

Plane = npt.NDArray[np.floating[Any]]
"""H x W, float32: luma, a mask, or a map of some quantity."""

SMALLEST = 16
"""Pixels of the shorter side below which there is no structure to measure."""

_THINNEST = 4
"""Pixels of the shorter side of what was shrunk below which there are no gradients to measure."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def prepare(image: npt.NDArray[Any]) -> Picture:
    """One image as a picture. Raises Unscorable for what is no image, Broken for one with NaN or infinity in it.

    Integers are scaled by the range of their type (8 and 16 bit); one channel becomes grey; an alpha channel is laid
    over white, as a page would show it; values outside 0..1 are clipped, as saving would.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 2, 3, 4) or 0 in image.shape:
        raise Unscorable(f"an image is height x width x 1 to 4 channels, and not {'x'.join(map(str, image.shape))}")
    if np.issubdtype(image.dtype, np.integer):
        image = image.astype(np.float32) / np.iinfo(image.dtype).max
    image = image.astype(np.float32, copy=False)
    if not np.isfinite(image).all():
        raise Broken(
            "the image holds NaN or infinity: the sampler or the VAE overflowed; try --fp32-vae or another precision"
        )
    image = np.clip(image, 0.0, 1.0)
    colour, alpha = (image[..., :-1], image[..., -1:]) if image.shape[2] in (2, 4) else (image, None)
    if alpha is not None:
        colour = colour * alpha + (1 - alpha)
    return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)))


def large_enough(picture: Picture) -> Picture:
    """The picture, if it has the size that structure needs; else raises Unscorable."""
    height, width = picture.shape[:2]
    if min(height, width) < SMALLEST:
        raise Unscorable(f"{width}x{height} pixels are too few to judge: at least {SMALLEST}x{SMALLEST} are needed")
    return picture


def luma(picture: Picture) -> Plane:
    """Brightness as video encodes it (ITU-R BT.601), 0..1."""
    return picture @ _LUMA


def prepare_mask(mask: npt.NDArray[Any], shape: tuple[int, ...]) -> Plane:
    """A mask, 0..1, in the height and width of a picture. Raises Unscorable for one that is no mask."""
    mask = mask if mask.ndim == 2 else np.squeeze(mask)
    if mask.ndim != 2 or 0 in mask.shape:
        raise Unscorable(f"a mask is height x width, and not {'x'.join(map(str, mask.shape)) or 'a number'}")
    if not np.isfinite(mask).all():
        raise Unscorable("the mask holds NaN or infinity: see the node that makes it")
    return np.clip(resize(mask.astype(np.float32), shape[0], shape[1]), 0.0, 1.0)


def shrink(image: Picture, side: int) -> Picture:
    """The image with its longer side at most `side`, each pixel the mean of what it covers; small ones stay."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    return resize(image, max(1, round(height * scale)), max(1, round(width * scale)))


def thumbnail(picture: Picture, side: int) -> Picture:
    """As shrink. Raises Unscorable for a picture that is too small, and for a strip, of which too little is left."""
    small = shrink(large_enough(picture), side)
    if min(small.shape[:2]) < _THINNEST:
        height, width = picture.shape[:2]
        raise Unscorable(f"{width}x{height} pixels are too narrow to judge: {side // _THINNEST} to 1 is the most")
    return small


def resize(image: Plane, height: int, width: int) -> Plane:
    """Area averages where it shrinks, linear interpolation where it grows."""
    rows = _resize_first(image, height)
    return np.ascontiguousarray(_resize_first(rows.swapaxes(0, 1), width).swapaxes(0, 1))


def _resize_first(image: Plane, size: int) -> Plane:
    """Along the first axis, where each new line is a weighted sum of a few old ones."""
    old = image.shape[0]
    if old == size:
        return image
    lines = np.ascontiguousarray(image).reshape(old, -1)
    return (_weights(old, size) @ lines).reshape(size, *image.shape[1:])


def _weights(old: int, size: int) -> Any:
    """A sparse matrix, new x old: how much of each old pixel is in each new one. Every row adds up to 1."""
    if size < old:
        edges = np.linspace(0, old, size + 1)[:, None]
        at = edges[:-1].astype(int) + np.arange(-(-old // size) + 1)
        covered = np.minimum(at + 1, edges[1:]) - np.maximum(at, edges[:-1])
        weights = np.maximum(covered, 0) * (size / old)
    else:
        centres = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)[:, None]
        at = centres.astype(int) + np.arange(2)
        weights = 1 - np.abs(at - centres)
    starts = np.arange(size + 1) * at.shape[1]
    entries = weights.astype(np.float32).ravel(), np.minimum(at, old - 1).ravel(), starts
    return sparse.csr_array(entries, shape=(size, old))
