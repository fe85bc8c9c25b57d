"""garment_accuracy: whether it is the same garment (or product), wherever it is in the picture and whoever wears it.

Inside the masks, two things are compared that survive another pose: the dominant colours (CIEDE2000), and the details
of the pattern as local features that are found again. An encoder's likeness joins them where one is given.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from . import Measure, Measured, Unscorable, curve
from .color import Lab, difference, to_lab
from .features import Floats, corners, describe, matched
from .picture import Picture, Plane, large_enough, luma, prepare_mask, resize, shrink

MEASURE = Measure("garment_accuracy", "palette-features", 1, "similarity 0..1")

_SIDE = 256  # px, of the box around a garment, at which it is compared
_COLORS = 8
_SAMPLES = 4096  # pixels that stand for all
_SCALES = (0.75, 1.0, 1.33)
_MOST = 300
_PLAIN = 12  # fewer corners than this are no pattern


def garment_accuracy(
    picture: Picture, mask: Plane, reference: Picture, reference_mask: Plane | None, likeness: float | None = None
) -> Measured:
    """`raw` is the geometric mean of colour, pattern and, if given, the encoder's `likeness` (each 0..1).

    Without a mask the reference is taken whole: a picture of the garment alone.
    """
    worn, worn_mask = _cut_out(picture, mask, "mask")
    wanted, wanted_mask = _cut_out(reference, reference_mask, "reference_mask")
    distance = palette_distance(*palette(wanted, wanted_mask), *palette(worn, worn_mask))
    parts = {"palette": curve.harmless(distance, 7.0)}
    details = {"palette_difference": distance}
    pattern = pattern_found(wanted, wanted_mask, worn, worn_mask)
    if pattern is not None:
        details["pattern_found"] = pattern
        parts["pattern"] = curve.rising(pattern, 0.02, 0.30)
    if likeness is not None:
        details["encoder_similarity"] = parts["encoder"] = likeness
    raw = float(np.prod(list(parts.values()))) ** (1 / len(parts))
    return Measured(raw, raw, details=details)


def palette(picture: Picture, where: npt.NDArray[np.bool_]) -> tuple[Lab, Floats]:
    """The dominant colours (at most eight) and their shares: k-means in CIELAB, begun at evenly spaced lightnesses."""
    inside = picture[where]
    small = to_lab(inside[:: max(1, len(inside) // _SAMPLES)])
    order = np.argsort(small[:, 0], kind="stable")
    centres = small[order[np.linspace(0, len(small) - 1, _COLORS).astype(int)]].astype(np.float64)
    nearest = np.zeros(len(small), int)
    for _ in range(12):
        nearest = ((centres**2).sum(axis=1) - 2 * small @ centres.T).argmin(axis=1)
        for number in range(_COLORS):
            members = small[nearest == number]
            if len(members):
                centres[number] = members.mean(axis=0)
    shares = np.bincount(nearest, minlength=_COLORS) / len(small)
    kept = shares > 0.02
    return centres[kept].astype(np.float32), (shares[kept] / shares[kept].sum()).astype(np.float32)


def palette_distance(colors1: Lab, shares1: Floats, colors2: Lab, shares2: Floats) -> float:
    """CIEDE2000 from each colour to the nearest one of the other palette, weighed by share, both ways."""
    between = difference(colors1[:, None], colors2[None])
    return float((shares1 @ between.min(axis=1) + shares2 @ between.min(axis=0)) / 2)


def pattern_found(
    wanted: Picture, wanted_mask: npt.NDArray[np.bool_], worn: Picture, worn_mask: npt.NDArray[np.bool_]
) -> float | None:
    """The share of the reference's details that are found again; None for a plain garment that stayed plain.

    0 where one is plain and the other is not: a pattern that is missing, or one that should not be there.
    """
    plane1, plane2 = luma(wanted), luma(worn)
    points1, points2 = corners(plane1, wanted_mask, _MOST), corners(plane2, worn_mask, _MOST)
    if min(len(points1), len(points2)) < _PLAIN:
        return None if max(len(points1), len(points2)) < 2 * _PLAIN else 0.0
    others = [describe(plane2, points2, scale) for scale in _SCALES]
    return float(matched(describe(plane1, points1, 1.0), others).mean())


def _cut_out(picture: Picture, mask: Plane | None, name: str) -> tuple[Picture, npt.NDArray[np.bool_]]:
    """The box around what the mask covers, at the working size, and the mask in it."""
    large_enough(picture)
    if mask is None:
        small = shrink(picture, _SIDE)
        return small, np.ones(small.shape[:2], bool)
    where = prepare_mask(mask, picture.shape) > 0.5
    if not where.any():
        raise Unscorable(f"{name} covers nothing: it is to cover the garment")
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    cut = large_enough(picture[box])
    small = shrink(cut, _SIDE)
    return small, resize(where[box].astype(np.float32), *small.shape[:2]) > 0.5
