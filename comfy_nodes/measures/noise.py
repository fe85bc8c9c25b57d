"""White noise, told from texture."""

from __future__ import annotations

import numpy as np

from .filters import tile_means
from .picture import Plane

_TILE = 16
_FLATTEST = 0.05  # of the tiles: where the least happens there is least to take for noise
_TEXTURE = (
    0.3  # of its energy two pixels apart is the most that texture shows between neighbours; noise shows all of it
)


def noise_sigma(plane: Plane) -> float:
    """Standard deviation of white noise, 0..1.

    The mask of Immerkaer ("Fast noise variance estimation", CVIU 64, 1996) answers little but noise to planes, edges
    and lines. It is applied to neighbours, and to pixels two apart: noise answers both alike, texture, which is smooth
    at the scale of a pixel, mostly the second. The flattest tiles stand for the whole, as with Liu, Tanaka and Okutomi
    ("Single-image noise level estimation", TIP 2013).
    """
    if min(plane.shape) < 2 * _TILE:
        return 0.0
    near, apart = _response(plane, 1)[1:-1, 1:-1], _response(plane, 2)
    near_energy = tile_means(near * near, _TILE).ravel()
    apart_energy = tile_means(apart * apart, _TILE).ravel()
    flattest = np.argsort(near_energy)[: max(4, int(_FLATTEST * len(near_energy)))]
    noise = near_energy[flattest].mean() - _TEXTURE * apart_energy[flattest].mean()
    return float(np.sqrt(max(0.0, noise / (1 - _TEXTURE)) / 36))  # 36: the sum of the mask's squares


def _response(plane: Plane, step: int) -> Plane:
    """The mask (1 -2 1) x (1 -2 1) with its taps `step` apart, where it fits."""
    across = plane[:, 2 * step :] - 2 * plane[:, step:-step] + plane[:, : -2 * step]
    return across[2 * step :] - 2 * across[step:-step] + across[: -2 * step]
