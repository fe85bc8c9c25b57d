"""sharpness: how wide the edges are, where there are edges, so that a smooth sky is not blurred.

The width of an edge comes from the energy of its gradient (Tenengrad: Krotkov 1988) before and after blurring it a
known bit more: the wider it was, the less that changes (Zhuo and Sim, "Defocus map estimation from a single image",
Pattern Recognition 44, 2011). The ratio does not depend on contrast. It is taken over small tiles, less what noise
contributes, and the sharpest part of the structure counts: a subject may stand before a blurred background.
"""

from __future__ import annotations

import numpy as np

from . import Measure, Measured, Unscorable, curve
from .filters import blur, tile_means
from .noise import noise_sigma
from .picture import Picture, Plane, large_enough, luma, prepare_mask

MEASURE = Measure("sharpness", "edge-spread", 1, "px")

_TILE = 16
_FINE, _COARSE = 0.7, 1.7  # px of blur before both looks: the first tames noise, the second is the known bit more
_CONTRAST = 0.004  # RMS gradient per pixel below which a tile is smooth
_SHARPEST = 0.3  # of the structure, by gradient
_STRIPES = 0.02  # of the structure in one direction is too little to judge that direction by
_WIDEST = 8.0  # px; wider cannot be told apart


def sharpness(picture: Picture, mask: Plane | None = None) -> Measured:
    """Edge spread: the standard deviation, in px, of an edge seen through a blur of 0.7 px.

    With a mask (H x W, 0..1), of what it covers.
    """
    plane = luma(large_enough(picture))
    covered = None if mask is None else _covered(mask, plane)
    noise = noise_sigma(plane)
    looks = [_Look(blur(plane, sigma), _noise_energy(noise, sigma)) for sigma in (_FINE, _COARSE)]
    weight = np.ones_like(looks[0].across) if covered is None else covered
    least = _CONTRAST**2 + 4 * _noise_energy(noise, _COARSE)
    spreads = [
        _sharpest(_spread(fine, coarse), np.where(coarse > least, np.sqrt(coarse) * weight, 0))
        for fine, coarse in ((looks[0].across, looks[1].across), (looks[0].down, looks[1].down))
    ]
    structure = max(there for _, there in spreads)
    if structure == 0:
        return Measured(0.0, None, "no structure: the picture, or what the mask covers, is smooth all over")
    # A shaken camera blurs one direction only; stripes, on the other hand, have structure in no more than one.
    raw = max(spread for spread, there in spreads if there > _STRIPES * structure)
    return Measured(curve.falling(raw, 0.65, 1.5), raw, details={"noise": noise})


class _Look:
    """Energy of the gradient in each tile, less what the noise contributes, by direction."""

    def __init__(self, plane: Plane, noise_energy: float) -> None:
        across, down = np.zeros_like(plane), np.zeros_like(plane)
        across[:, 1:-1] = (plane[:, 2:] - plane[:, :-2]) / 2
        down[1:-1] = (plane[2:] - plane[:-2]) / 2
        self.across = np.maximum(tile_means(across * across, _TILE) - noise_energy, 0)
        self.down = np.maximum(tile_means(down * down, _TILE) - noise_energy, 0)


def _covered(mask: Plane, plane: Plane) -> Plane:
    """How much of each tile a mask covers. Raises Unscorable where it is nothing."""
    shares = tile_means(prepare_mask(mask, plane.shape), _TILE)
    if not shares.any():
        raise Unscorable("the mask covers nothing: it is to cover the subject")
    return shares


def _noise_energy(noise: float, sigma: float) -> float:
    """Expected energy of the gradient, in one direction, of white noise that a Gaussian of `sigma` px blurred."""
    return noise**2 / (8 * np.pi * sigma**4)


def _sharpest(spread: Plane, weight: Plane) -> tuple[float, float]:
    """The mean spread in the sharpest tiles, and how much structure there is in all."""
    order = np.argsort(spread, axis=None)
    share = np.cumsum(weight.ravel()[order])
    if share[-1] == 0:
        return _WIDEST, 0.0
    best = order[: int(np.searchsorted(share, _SHARPEST * share[-1])) + 1]
    return float(np.average(spread.ravel()[best], weights=weight.ravel()[best])), float(share[-1])


def _spread(fine: Plane, coarse: Plane) -> Plane:
    """Width of the edges of each tile at the first look, which is never 0: what is sharper still reads narrower."""
    ratio = np.divide(fine, coarse, out=np.ones_like(fine), where=coarse > 0)
    # Squared gradients of a step sum up to 1 / width, so ratio^2 = (width^2 + coarse^2 - fine^2) / width^2.
    squared = (_COARSE**2 - _FINE**2) / np.maximum(ratio**2 - 1, 1e-6)
    return np.minimum(np.sqrt(squared), _WIDEST)
