"""brand_color: whether the brand's colours are in the picture, and not others that are nearly the same.

For each colour of the brand: the CIEDE2000 distance within which the stated share of the picture lies. A colour that is
there has a distance near 0; one that drifted has the distance that it drifted.
"""

from __future__ import annotations

import numpy as np

from . import Measure, Measured, Unscorable, curve
from .color import difference, parse_colors, to_lab
from .picture import Picture, Plane, prepare_mask, shrink

MEASURE = Measure("brand_color", "ciede2000-palette", 1, "CIEDE2000")

_SIDE = 256


def brand_color(picture: Picture, colors: str, coverage: float, mask: Plane | None = None) -> Measured:
    """`raw` is the distance of the worst colour. `colors` are written #RRGGBB, `coverage` is the share, 0..1, of the
    picture (or of what the mask covers) that each of them fills at least."""
    wanted = to_lab(parse_colors(colors))
    pixels = shrink(picture, _SIDE)
    where = np.ones(pixels.shape[:2], bool) if mask is None else prepare_mask(mask, pixels.shape) > 0.5
    if not where.any():
        raise Unscorable("the mask covers nothing: it is to cover what has the brand's colours")
    lab = to_lab(pixels[where])
    rank = min(len(lab) - 1, int(coverage * len(lab)))
    distances = [float(np.partition(difference(lab, color), rank)[rank]) for color in wanted]
    raw = max(distances)
    details = {f"color_{number}": distance for number, distance in enumerate(distances, 1)}
    return Measured(curve.harmless(raw, 5.0), raw, details=details)
