"""Small separable filters on planes, in float32 and without temporary copies of the whole where slices do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .picture import Plane


def blur(plane: Plane, sigma: float) -> Plane:
    """Gaussian, `sigma` in pixels, cut at three sigma; the border is mirrored."""
    return ndimage.gaussian_filter(plane, sigma, output=np.float32, mode="reflect", truncate=3.0)


def mean(plane: Plane, size: int) -> Plane:
    """Mean over a window of size x size; the border is mirrored."""
    return ndimage.uniform_filter(plane, size, output=np.float32, mode="reflect")


def gradient(plane: Plane) -> tuple[Plane, Plane]:
    """Central differences down and across, per pixel."""
    down, across = (np.gradient(plane, axis=axis) for axis in (0, 1))
    return down, across


def gradient_energy(plane: Plane) -> Plane:
    """Squared magnitude of central differences, per pixel; the border is 0."""
    energy = np.zeros_like(plane)
    across = plane[1:-1, 2:] - plane[1:-1, :-2]
    down = plane[2:, 1:-1] - plane[:-2, 1:-1]
    energy[1:-1, 1:-1] = (across * across + down * down) * 0.25
    return energy


def tiles(plane: Plane, size: int) -> Plane:
    """A view as rows x columns x size x size; what does not fill a tile at the right and the bottom is left out."""
    rows, columns = plane.shape[0] // size, plane.shape[1] // size
    cut = plane[: rows * size, : columns * size]
    return cut.reshape(rows, size, columns, size).swapaxes(1, 2)


def tile_means(plane: Plane | npt.NDArray[np.bool_], size: int) -> Plane:
    """Mean of each tile of size x size."""
    rows, columns = plane.shape[0] // size, plane.shape[1] // size
    cut = plane[: rows * size, : columns * size]
    strips = cut.reshape(rows, size, columns * size).sum(axis=1, dtype=np.float32)  # whole rows add up fastest
    return strips.reshape(rows, columns, size).sum(axis=2) / np.float32(size * size)
