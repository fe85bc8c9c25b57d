"""background_consistency: that nothing outside the subject changed, and that the subject has no halo.

Outside the mask the picture is compared with its reference in colour and structure; in a seam of 3 px around the mask
it is compared once more, at its native size, since a halo of one pixel is enough to ruin a composite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from . import Measure, Measured, Unscorable, curve
from .color import difference, to_lab
from .picture import Picture, Plane, prepare_mask, resize
from .reference_similarity import color_shift, common_planes, common_size
from .structure import structural_similarity

MEASURE = Measure("background_consistency", "ciede2000-ssim-halo", 2, "similarity 0..1")

_HALO = 3  # px
_WINDOW = 4  # px that structural similarity looks to each side
_LEAST = 0.02  # of the picture
_NATIVE = 2048  # px; what is larger is compared at this size

Where = npt.NDArray[np.bool_]


def background_consistency(picture: Picture, reference: Picture, mask: Plane) -> Measured:
    """`mask` is 1 on the subject. `raw` is the geometric mean of colour, structure and seam, each 0..1."""
    similarity = structural_similarity(*common_planes(picture, reference))
    background = ~_grown(_subject(mask, similarity), _HALO)
    if background.mean() < _LEAST:
        raise Unscorable("the mask covers the whole picture: it is to cover the subject, and leave the background free")
    structure = float(similarity[_inner(background)].mean())
    color = _color(picture, reference, background)
    halo = _halo(picture, reference, mask)
    parts = (curve.harmless(color, 5.0, 1.5), max(0.0, structure), curve.harmless(halo, 6.0, 1.5))
    raw = float(np.prod(parts)) ** (1 / 3)
    details = {"color_difference": color, "structure": structure, "halo_difference": halo}
    return Measured(curve.rising(raw, 0.55, 0.9), raw, details=details)


def _color(picture: Picture, reference: Picture, background: Where) -> float:
    """Mean CIEDE2000 of the background. The seam around it is wider than a pixel here, so none has of the subject."""
    shift = color_shift(picture, reference)
    return float(np.average(shift, weights=resize(background.astype(np.float32), *shift.shape)))


def _halo(picture: Picture, reference: Picture, mask: Plane) -> float:
    """Mean CIEDE2000 in the seam; 0 without a subject."""
    size = common_size(picture, reference, _NATIVE)
    picture, reference = resize(picture, *size), resize(reference, *size)
    subject = _subject(mask, picture)
    seam = _grown(subject, _HALO) & ~subject
    if not seam.any():
        return 0.0
    return float(difference(to_lab(picture[seam]), to_lab(reference[seam])).mean())


def _subject(mask: Plane, like: npt.NDArray[Any]) -> Where:
    """Where the subject is, in the height and width of another array."""
    return prepare_mask(mask, like.shape) > 0.5


def _grown(where: Where, by: int) -> Where:
    """What lies within `by` px, in a square."""
    grown: npt.NDArray[Any] = ndimage.maximum_filter(where.view(np.uint8), 2 * by + 1)
    return grown.view(np.bool_)


def _inner(background: Where) -> Where:
    """Without the pixels whose windows reach into the seam, where the subject may have changed; all if none is left."""
    inner = ~_grown(~background, _WINDOW)
    return inner if inner.any() else background
