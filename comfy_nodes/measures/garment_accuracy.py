"""garment_accuracy: whether it is the same garment (or product), wherever it is in the picture and whoever wears it.

Inside the masks, two things are compared that survive another pose: the dominant colours (CIEDE2000), and the details
of the pattern as local features that are found again. An encoder's likeness joins them where one is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import Measure, Measured, Unscorable, curve
from .color import Lab, difference, to_lab
from .features import Floats, corners, describe, matched
from .picture import Picture, Plane, large_enough, luma, prepare_mask, resize, thumbnail

MEASURE = Measure("garment_accuracy", "palette-features", 2, "similarity 0..1")

_SIDE = 256  # px, of the box around a garment, at which it is compared
_COLORS = 8
_SAMPLES = 4096  # pixels that stand for all
_SCALES = (0.75, 1.0, 1.33)
_MOST = 300
_PLAIN = 12  # fewer corners than this are no pattern


@dataclass(frozen=True, slots=True)
class Cutout:
    """The box around what a mask covers, at the working size, and the mask in it."""

    picture: Picture
    mask: npt.NDArray[np.bool_]


def garment_accuracy(worn: Cutout, wanted: Cutout, likeness: float | None = None) -> Measured:
    """`raw` is the geometric mean of colour, pattern and, if given, an encoder's `likeness`, each 0..1."""
    distance = palette_distance(palette(wanted), palette(worn))
    parts = {"palette": curve.harmless(distance, 7.0)}
    details = {"palette_difference": distance}
    pattern = pattern_found(wanted, worn)
    if pattern is not None:
        details["pattern_found"] = pattern
        parts["pattern"] = curve.rising(pattern, 0.02, 0.30)
    if likeness is not None:
        details["encoder_similarity"] = parts["encoder"] = likeness
    raw = float(np.prod(list(parts.values()))) ** (1 / len(parts))
    return Measured(raw, raw, details=details)


def cut_out(picture: Picture, mask: Plane | None, name: str) -> Cutout:
    """A garment of a picture; without a mask the picture is taken whole. Raises Unscorable for a mask of nothing."""
    if mask is None:
        small = thumbnail(picture, _SIDE)
        return Cutout(small, np.ones(small.shape[:2], bool))
    where = prepare_mask(mask, large_enough(picture).shape) > 0.5
    if not where.any():
        raise Unscorable(f"{name} covers nothing: it is to cover the garment")
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    small = thumbnail(picture[box], _SIDE)
    inside = resize(where[box].astype(np.float32), *small.shape[:2]) > 0.5
    if not inside.any():
        raise Unscorable(f"{name} covers specks here and there: it is to cover the garment")
    return Cutout(small, inside)


def palette(garment: Cutout) -> tuple[Lab, Floats]:
    """The dominant colours (at most eight) and their shares: k-means in CIELAB, begun at evenly spaced lightnesses."""
    inside = garment.picture[garment.mask]
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


def palette_distance(one: tuple[Lab, Floats], other: tuple[Lab, Floats]) -> float:
    """CIEDE2000 from each colour to the nearest one of the other palette, weighed by share, both ways."""
    between = difference(one[0][:, None], other[0][None])
    return float((one[1] @ between.min(axis=1) + other[1] @ between.min(axis=0)) / 2)


def pattern_found(wanted: Cutout, worn: Cutout) -> float | None:
    """The share of the reference's details that are found again; None for a plain garment that stayed plain.

    0 where one is plain and the other is not: a pattern that is missing, or one that should not be there.
    """
    plane1, plane2 = luma(wanted.picture), luma(worn.picture)
    points1, points2 = corners(plane1, wanted.mask, _MOST), corners(plane2, worn.mask, _MOST)
    if min(len(points1), len(points2)) < _PLAIN:
        return None if max(len(points1), len(points2)) < 2 * _PLAIN else 0.0
    others = [describe(plane2, points2, scale) for scale in _SCALES]
    return float(matched(describe(plane1, points1, 1.0), others).mean())
