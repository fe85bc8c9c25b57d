"""Colour as people see it: CIELAB (CIE 15:2004, D65) and the difference CIEDE2000."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from . import Unscorable

Lab = npt.NDArray[np.floating[Any]]
"""... x 3: lightness 0..100, a*, b*."""

_TO_XYZ = np.array(  # IEC 61966-2-1, each row divided by the white point D65
    [
        [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883],
    ],
    np.float32,
)
_STEPS = 2**14 - 1  # fine enough for errors of 0.01 in CIELAB, and many times faster than a power
_CODES = np.arange(_STEPS + 1) / _STEPS
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)
_HEX = re.compile(r"#?([0-9a-fA-F]{6}|[0-9a-fA-F]{3})")


def to_lab(srgb: npt.NDArray[np.floating[Any]]) -> Lab:
    """CIELAB of sRGB values 0..1 (... x 3)."""
    codes = np.rint(srgb * _STEPS).astype(np.int32)
    red, green, blue = (_LINEAR[codes[..., channel]] for channel in range(3))
    x, y, z = (_lightness(r * red + g * green + b * blue) for r, g, b in _TO_XYZ)  # BLAS would wake a thread a core
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _lightness(share: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """As the eye sees the share of the white point's, 0..1: a cube root with a straight beginning."""
    return np.where(share > 216 / 24389, np.cbrt(share), share * np.float32(841 / 108) + np.float32(4 / 29))


def difference(one: Lab, other: Lab) -> npt.NDArray[np.float32]:
    """CIEDE2000, in its unit: 1 is about the least that can be seen side by side.

    Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula: implementation notes" (2005), with kL = kC = kH = 1.
    """
    lightness1, a1, b1 = (one[..., i] for i in range(3))
    lightness2, a2, b2 = (other[..., i] for i in range(3))
    mean7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(mean7 / (mean7 + 25.0**7))
    chroma1, chroma2 = np.hypot(a1 * stretch, b1), np.hypot(a2 * stretch, b2)
    hue1, hue2 = np.arctan2(b1, a1 * stretch), np.arctan2(b2, a2 * stretch)
    turn = np.where(chroma1 * chroma2 == 0, 0, (hue2 - hue1 + np.pi) % (2 * np.pi) - np.pi)
    chroma = (chroma1 + chroma2) / 2
    mean_hue = np.where(chroma1 * chroma2 == 0, hue1 + hue2, hue1 + turn / 2)
    lightness = ((lightness1 + lightness2) / 2 - 50) ** 2
    weight = (
        1
        - 0.17 * np.cos(mean_hue - np.pi / 6)
        + 0.24 * np.cos(2 * mean_hue)
        + 0.32 * np.cos(3 * mean_hue + np.pi / 30)
        - 0.20 * np.cos(4 * mean_hue - 63 * np.pi / 180)
    )
    by_lightness = (lightness2 - lightness1) / (1 + 0.015 * lightness / np.sqrt(20 + lightness))
    by_chroma = (chroma2 - chroma1) / (1 + 0.045 * chroma)
    by_hue = 2 * np.sqrt(chroma1 * chroma2) * np.sin(turn / 2) / (1 + 0.015 * chroma * weight)
    chroma7 = chroma**7
    off_blue = (np.degrees(mean_hue) % 360 - 275) / 25
    bend = -np.sin(np.radians(60 * np.exp(-(off_blue**2)))) * 2 * np.sqrt(chroma7 / (chroma7 + 25.0**7))
    squared = by_lightness**2 + by_chroma**2 + by_hue**2 + bend * by_chroma * by_hue
    return np.sqrt(np.maximum(squared, 0)).astype(np.float32)


def parse_colors(text: str) -> npt.NDArray[np.float32]:
    """The sRGB colours (n x 3) of a text such as "#FF5A00, #1a1a2e". Raises Unscorable for anything else."""
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    colors: list[list[float]] = []
    for word in words:
        match = _HEX.fullmatch(word)
        if match is None:
            raise Unscorable(f"{word!r} is no colour: write colours as #RRGGBB, with commas between")
        digits = match[1] if len(match[1]) == 6 else "".join(digit * 2 for digit in match[1])
        colors.append([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    if not colors:
        raise Unscorable("no colour is given: write at least one as #RRGGBB")
    return np.array(colors, np.float32)
