"""What is judged: photographs that ship inside scikit-image's wheel, and pictures drawn from a seed."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from ..measures.picture import Picture

SIDE = 384

# Of the pictures in the wheel those from a camera that are clean: moon.png shows the grid of a JPEG itself, and so,
# faintly, does retina.jpg; page.png and text.png are scans; the others are microscopy, drawings or masks.
PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png"),
    *("hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "motorcycle_right.png", "rocket.jpg"),
)
DRAWN = 11


@lru_cache
def photograph(name: str, side: int = SIDE) -> Picture:
    """The middle of a photograph, at its native size, at most `side` px square."""
    with as_file(files("skimage.data") / name) as path, Image.open(path) as image:
        whole = np.asarray(image.convert("RGB"), np.float32) / 255
    top, left = (max(0, (size - side) // 2) for size in whole.shape[:2])
    return whole[top : top + side, left : left + side]


@lru_cache
def drawn(seed: int, side: int = SIDE) -> Picture:
    """Discs and lettering over a gradient, and a patch of texture: 8 bit, anti-aliased, with the noise of a sensor."""
    random = np.random.default_rng(seed)
    size = 2 * side
    ends = random.random((2, 3)) * 0.7 + 0.15
    slope = np.linspace(0, 1, size)[:, None, None]
    canvas = np.broadcast_to(ends[0] * (1 - slope) + ends[1] * slope, (size, size, 3))
    image = Image.fromarray((canvas * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, radius = (int(number) for number in random.integers((0, 0, size // 30), (size, size, size // 7)))
        color = tuple(int(channel) for channel in random.integers(20, 235, 3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    for line in range(1, 5):
        draw.text((size // 8, line * size // 6), "graded strengths", fill=(20, 20, 24), font_size=size // 14)
    smooth = np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float32) / 255
    texture = ndimage.gaussian_filter(random.standard_normal((side, side, 1)), (1, 1, 0)) * 0.35
    corner = side // 2
    picture = smooth.copy()
    picture[corner:, corner:] += texture[corner:, corner:].astype(np.float32)
    picture += random.normal(0, 0.6 / 255, picture.shape).astype(np.float32)
    return (np.rint(np.clip(picture, 0, 1) * 255) / 255).astype(np.float32)


def pictures() -> list[tuple[str, Picture]]:
    """All of them, by name."""
    real = [(name.partition(".")[0], photograph(name)) for name in PHOTOGRAPHS]
    return real + [(f"drawn {seed}", drawn(seed)) for seed in range(DRAWN)]
