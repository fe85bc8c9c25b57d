"""How alike two planes are in structure, per pixel."""

from __future__ import annotations

import numpy as np

from .filters import gradient_energy, mean
from .picture import Plane

_WINDOW = 7
_C1, _C2 = 0.01**2, 0.03**2


def structural_similarity(one: Plane, other: Plane) -> Plane:
    """SSIM, -1..1 (Wang, Bovik, Sheikh and Simoncelli, TIP 2004), over uniform windows of 7 px."""
    mean1, mean2 = mean(one, _WINDOW), mean(other, _WINDOW)
    variances = mean(one * one + other * other, _WINDOW) - mean1 * mean1 - mean2 * mean2
    covariance = mean(one * other, _WINDOW) - mean1 * mean2
    luminance = (2 * mean1 * mean2 + _C1) / (mean1 * mean1 + mean2 * mean2 + _C1)
    return luminance * (2 * covariance + _C2) / (variances + _C2)


def gradient_similarity(one: Plane, other: Plane) -> Plane:
    """Likeness of edges, 0..1: GMS of Xue, Zhang, Mou and Bovik ("Gradient magnitude similarity deviation", 2014)."""
    energy1, energy2 = gradient_energy(one), gradient_energy(other)
    constant = np.float32(0.0026 / 4)  # theirs, for central differences instead of Prewitt's
    return (2 * np.sqrt(energy1 * energy2) + constant) / (energy1 + energy2 + constant)
