"""reference_similarity: how close a render is to the picture that it should look like, such as its keyshot.

Structure, edges and colour are compared pixel by pixel at a working size, so that a render in another resolution of
the same framing compares.
"""

from __future__ import annotations

import numpy as np

from . import Measure, Measured, Unscorable, curve
from .color import difference, to_lab
from .filters import gradient_energy
from .picture import Picture, Plane, large_enough, luma, resize
from .structure import gradient_similarity, structural_similarity

MEASURE = Measure("reference_similarity", "ssim-gms-ciede2000", 2, "similarity 0..1")

_SIDE = 512  # px, of the longer side, at which structure is compared
_COLOR_SIDE = 256
_ASPECT = 0.03


def reference_similarity(picture: Picture, reference: Picture) -> Measured:
    """`raw` is the geometric mean of structure (SSIM), edges (GMS) and colour (CIEDE2000), each 0..1."""
    one, other = common_planes(picture, reference)
    structure = max(0.0, float(structural_similarity(one, other).mean()))
    edges = edge_likeness(one, other)
    shift = float(color_shift(picture, reference).mean())
    raw = (structure * edges * curve.harmless(shift, 6.0, 1.5)) ** (1 / 3)
    details = {"structure": structure, "edges": edges, "color_difference": shift}
    return Measured(curve.rising(raw, 0.55, 0.92), raw, details=details)


def common_size(picture: Picture, reference: Picture, side: int) -> tuple[int, int]:
    """Height and width of the smaller, at most `side`. Raises Unscorable where they have another framing."""
    large_enough(picture)
    large_enough(reference)
    aspect = picture.shape[1] / picture.shape[0] * reference.shape[0] / reference.shape[1]
    if abs(aspect - 1) > _ASPECT:
        sizes = (f"{image.shape[1]}x{image.shape[0]}" for image in (picture, reference))
        raise Unscorable("the reference has another framing ({1} to {0}): crop it as the image is".format(*sizes))
    height, width = (min(a, b) for a, b in zip(picture.shape[:2], reference.shape[:2], strict=True))
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def common_planes(picture: Picture, reference: Picture) -> tuple[Plane, Plane]:
    """The lightness of both, in the size that structure is compared at."""
    size = common_size(picture, reference, _SIDE)
    return resize(luma(picture), *size), resize(luma(reference), *size)


def edge_likeness(one: Plane, other: Plane) -> float:
    """Mean gradient similarity where either picture has an edge, 0..1; without any edge they are alike."""
    edges = np.sqrt(np.maximum(gradient_energy(one), gradient_energy(other)))
    total = float(edges.sum())
    return float((gradient_similarity(one, other) * edges).sum() / total) if total else 1.0


def color_shift(picture: Picture, reference: Picture) -> Plane:
    """CIEDE2000 of what the eye averages at a distance."""
    size = common_size(picture, reference, _COLOR_SIDE)
    return difference(to_lab(resize(picture, *size)), to_lab(resize(reference, *size)))
