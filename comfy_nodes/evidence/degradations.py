"""What goes wrong with pictures, by strength; 0 is no change. Random ones draw the same numbers for every strength."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from ..measures.picture import Picture


def gaussian_blur(picture: Picture, sigma: float) -> Picture:
    """`sigma` in px."""
    return ndimage.gaussian_filter(picture, (sigma, sigma, 0)) if sigma else picture


def motion_blur(picture: Picture, length: float) -> Picture:
    """Across; `length` in px."""
    return ndimage.uniform_filter1d(picture, max(1, round(length)), axis=1)


def jpeg(picture: Picture, loss: float) -> Picture:
    """`loss` is 100 less the quality, with halved colour resolution as most programs save."""
    if not loss:
        return picture
    data = io.BytesIO()
    Image.fromarray(_bytes(picture)).save(data, "JPEG", quality=round(100 - loss), subsampling=2)
    return np.asarray(Image.open(data), np.float32) / 255


def noise(picture: Picture, sigma: float) -> Picture:
    """White, in each channel; `sigma` of 0..1."""
    drawn = np.random.default_rng(1).standard_normal(picture.shape).astype(np.float32)
    return np.clip(picture + sigma * drawn, 0, 1)


def banding(picture: Picture, step: float) -> Picture:
    """Only each `step`th of 255 tones is left."""
    if not step:
        return picture
    return (np.rint(picture * 255 / step) * step / 255).clip(0, 1).astype(np.float32)


def impulses(picture: Picture, share: float) -> Picture:
    """Salt and pepper on that share of the pixels."""
    drawn = np.random.default_rng(2).random(picture.shape[:2])[..., None]
    return np.where(drawn < share / 2, 0, np.where(drawn > 1 - share / 2, 1, picture)).astype(np.float32)


def checkerboard(picture: Picture, amplitude: float) -> Picture:
    """Every other pixel brighter, the others darker."""
    rows, columns = (np.arange(size) for size in picture.shape[:2])
    signs = (rows[:, None] + columns) % 2 * 2 - 1
    return np.clip(picture + amplitude * signs[..., None], 0, 1).astype(np.float32)


def oversharpening(picture: Picture, amount: float) -> Picture:
    """An unsharp mask of 1.5 px."""
    return np.clip(picture + amount * (picture - gaussian_blur(picture, 1.5)), 0, 1)


def burning(picture: Picture, gain: float) -> Picture:
    """Contrast and saturation far up, as too much guidance does."""
    grey = picture.mean(axis=2, keepdims=True)
    return np.clip(0.5 + (picture - 0.5) * (1 + gain) + (picture - grey) * gain, 0, 1)


def color_shift(picture: Picture, amount: float) -> Picture:
    """Red up and blue down, by that share."""
    return np.clip(picture * np.array([1 + amount, 1, 1 - amount], np.float32), 0, 1)


def darkening(picture: Picture, amount: float) -> Picture:
    """By that share."""
    return (picture * np.float32(1 - amount)).astype(np.float32)


def displacement(picture: Picture, pixels: float) -> Picture:
    """To the right and down; the border is mirrored."""
    return ndimage.shift(picture, (pixels, pixels, 0), order=1, mode="reflect")


def _bytes(picture: Picture) -> np.ndarray:
    return np.rint(picture * 255).astype(np.uint8)
