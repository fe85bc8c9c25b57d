"""Local features: corners and what they look like, to find the details of one picture again in another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .filters import blur, gradient
from .picture import Plane

Floats = npt.NDArray[np.floating[Any]]

_GRID = 16  # samples across the patch that is described
_CELLS, _BINS = 4, 8


def corners(plane: Plane, where: npt.NDArray[np.bool_], most: int) -> npt.NDArray[np.intp]:
    """The strongest corners (n x 2: row, column) inside `where`, at least 5 px apart (Shi and Tomasi, CVPR 1994)."""
    down, across = gradient(plane)
    a, b, c = (blur(product, 1.5) for product in (across * across, across * down, down * down))
    strength = (a + c) / 2 - np.sqrt(((a - c) / 2) ** 2 + b * b)  # the smaller eigenvalue
    strength = np.where(where, strength, 0)
    cell = 5
    rows, columns = strength.shape[0] // cell, strength.shape[1] // cell
    cells = strength[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell).swapaxes(1, 2)
    flat = cells.reshape(rows, columns, cell * cell)
    best = flat.argmax(axis=2)
    peak = flat.max(axis=2)
    order = np.argsort(-peak, axis=None, kind="stable")[:most]
    order = order[peak.ravel()[order] > max(1e-6, 0.01 * float(peak.max(initial=0)))]
    row, column = np.divmod(order, columns)
    inner_row, inner_column = np.divmod(best.ravel()[order], cell)
    return np.stack([row * cell + inner_row, column * cell + inner_column], axis=1)


def describe(plane: Plane, at: npt.NDArray[np.intp], scale: float) -> Floats:
    """A descriptor (n x 128, unit length) of the 16 x 16 samples, `scale` px apart, around each point.

    Histograms of gradient orientation relative to the main one (Lowe, IJCV 60, 2004), square-rooted (Arandjelovic and
    Zisserman, "Three things everyone should know", CVPR 2012).
    """
    smooth = blur(plane, max(0.5, 0.8 * scale))
    down, across = gradient(smooth)
    angle = _main_angle(down, across, at, scale)
    steps = (np.arange(_GRID) - (_GRID - 1) / 2) * scale
    y, x = np.meshgrid(steps, steps, indexing="ij")
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    rows = _clip(at[:, 0, None, None] + sine * x + cosine * y, plane.shape[0])
    columns = _clip(at[:, 1, None, None] + cosine * x - sine * y, plane.shape[1])
    gy, gx = down[rows, columns], across[rows, columns]
    weight = np.hypot(gy, gx) * np.exp(-(x * x + y * y) / (2 * (_GRID / 2 * scale) ** 2))
    turn = (np.arctan2(gy, gx) - angle[:, None, None]) / (2 * np.pi) * _BINS
    lower = np.floor(turn)
    share = turn - lower
    cell = np.arange(_GRID) * _CELLS // _GRID
    place = (np.arange(len(at))[:, None, None] * _CELLS + cell[:, None]) * _CELLS + cell
    size = len(at) * _CELLS * _CELLS * _BINS
    total = np.zeros(size)
    for bin_, part in ((lower, weight * (1 - share)), (lower + 1, weight * share)):
        total += np.bincount((place * _BINS + bin_.astype(int) % _BINS).ravel(), part.ravel(), size)
    descriptors = total.reshape(len(at), -1)
    descriptors /= np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9)
    return np.sqrt(descriptors).astype(np.float32)


def matched(ones: Floats, others: Sequence[Floats], ratio: float = 0.85) -> npt.NDArray[np.bool_]:
    """Which of the first have a counterpart that is clearly nearer than the next nearest point (Lowe 2004).

    `others` are descriptors of the same points, at least two, at one or several scales: a point is no rival of itself.
    """
    likeness = np.max([np.einsum("ad,bd->ab", ones, other) for other in others], axis=0)  # BLAS wakes a thread a core
    nearest = np.partition(np.maximum(2 - 2 * likeness, 0), 1, axis=1)
    return nearest[:, 0] < ratio**2 * nearest[:, 1]


def _main_angle(down: Plane, across: Plane, at: npt.NDArray[np.intp], scale: float) -> npt.NDArray[np.float64]:
    """The direction of the mean gradient around each point, in radians."""
    mean_down, mean_across = (blur(part, 3 * scale) for part in (down, across))
    return np.arctan2(mean_down[at[:, 0], at[:, 1]], mean_across[at[:, 0], at[:, 1]]).astype(np.float64)


def _clip(at: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.intp]:
    return np.clip(np.rint(at), 0, size - 1).astype(np.intp)
