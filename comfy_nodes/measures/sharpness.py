"""sharpness: how wide the edges are, where there are edges, so that a smooth sky is not blurred.

The width of an edge comes from the energy of its gradient (Tenengrad: Krotkov 1988) before and after blurring it a
known bit more: the wider it was, the less that changes (Zhuo and Sim, "Defocus map estimation from a single image",
Pattern Recognition 44, 2011). The ratio does not depend on contrast. It is taken over small tiles, less what noise
contributes, and the sharpest part of the structure counts: a subject may stand before a blurred background.
"""

from __future__ import annotations

import numpy as np

from . import Measure, Measured, curve
from .filters import blur, gradient_energy, tile_means
from .noise import noise_sigma
from .picture import Picture, Plane, large_enough, luma

MEASURE = Measure("sharpness", "edge-spread", 1, "px")

_TILE = 16
_FINE, _COARSE = 0.7, 1.7  # px of blur before both looks: the first tames noise, the second is the known bit more
_CONTRAST = 0.004  # RMS gradient per pixel below which a tile is smooth
_SHARPEST = 0.3  # of the structure, by gradient energy
_WIDEST = 8.0  # px; wider cannot be told apart


def sharpness(picture: Picture, mask: Plane | None = None) -> Measured:
    """Edge spread: the standard deviation, in px, of an edge seen through a blur of 0.7 px.

    With a mask (H x W, 0..1), of what it covers.
    """
    plane = luma(large_enough(picture))
    noise = noise_sigma(plane)
    fine, coarse = _energies(plane, noise)
    weight = np.sqrt(coarse) if mask is None else np.sqrt(coarse) * tile_means(mask, _TILE)
    weight = np.where(coarse > _CONTRAST**2 + 4 * _noise_energy(noise, _COARSE), weight, 0)
    if not weight.any():
        return Measured(0.0, None, "no structure: the picture, or what the mask covers, is smooth all over")
    spread = _spread(fine, coarse)
    order = np.argsort(spread, axis=None)
    share = np.cumsum(weight.ravel()[order])
    sharpest = order[: int(np.searchsorted(share, _SHARPEST * share[-1])) + 1]
    raw = float(np.average(spread.ravel()[sharpest], weights=weight.ravel()[sharpest]))
    return Measured(curve.falling(raw, 0.9, 1.9), raw, details={"noise": noise})


def _energies(plane: Plane, noise: float) -> tuple[Plane, Plane]:
    """Gradient energy of each tile after both blurs, less what the noise contributes."""
    looks = (
        tile_means(gradient_energy(blur(plane, sigma)), _TILE) - _noise_energy(noise, sigma)
        for sigma in (_FINE, _COARSE)
    )
    fine, coarse = (np.maximum(look, 0) for look in looks)
    return fine, coarse


def _noise_energy(noise: float, sigma: float) -> float:
    """Expected gradient energy of white noise that a Gaussian of `sigma` px blurred."""
    return noise**2 / (8 * np.pi * sigma**4)


def _spread(fine: Plane, coarse: Plane) -> Plane:
    """Width of the edges of each tile at the first look, which is never 0: what is sharper still reads narrower."""
    ratio = np.divide(fine, coarse, out=np.ones_like(fine), where=coarse > 0)
    # Squared gradients of a step sum up to 1 / width, so ratio^2 = (width^2 + coarse^2 - fine^2) / width^2.
    squared = (_COARSE**2 - _FINE**2) / np.maximum(ratio**2 - 1, 1e-6)
    return np.minimum(np.sqrt(squared), _WIDEST)
