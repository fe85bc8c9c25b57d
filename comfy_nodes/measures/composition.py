"""composition: whether there is a subject, whether the frame cuts it, and whether it stands where the eye looks.

Without a mask the subject is what is salient: the spectral residual of Hou and Zhang ("Saliency detection: a spectral
residual approach", CVPR 2007), taken of lightness and both colour axes, and weighed by contrast as Achanta et al. do
("Frequency-tuned salient region detection", CVPR 2009). Placement follows the rule of thirds, or the centre (Liu, Chen,
Wolf and Cohen-Or, "Optimizing photo composition", Computer Graphics Forum 2010).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from . import Measure, Measured, curve
from .color import Lab, to_lab
from .filters import blur
from .picture import Picture, Plane, prepare_mask, thumbnail

MEASURE = Measure("composition", "saliency-thirds", 1, "composition 0..1")

_SIDE = 64
_BORDER = 1  # cells of the saliency map
_ANCHORS = ((1 / 2, 1 / 2), (1 / 3, 1 / 3), (2 / 3, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 2 / 3))
_EMPTY = 2.0  # standard deviation of Lab within which nothing stands out


def composition(picture: Picture, mask: Plane | None = None) -> Measured:
    """`raw` is the product of presence, wholeness, placement and headroom, each 0..1. `mask` is 1 on the subject."""
    small = thumbnail(picture, _SIDE)
    lab = to_lab(small).astype(np.float64)  # the phase of what is faint must not hang on rounding
    contrast = float(lab.std(axis=(0, 1)).max())
    if contrast < _EMPTY:
        return Measured(0.0, 0.0, "the frame is empty: nothing stands out")
    weight = saliency(lab) if mask is None else prepare_mask(mask, small.shape)
    if not weight.any():
        return Measured(0.0, 0.0, "the frame is empty: the mask covers nothing")
    weight = weight / weight.sum()
    details = {
        "presence": curve.rising(contrast, 1.0, 8.0),
        "wholeness": _wholeness(weight),
        "placement": _placement(weight),
        "headroom": _headroom(weight),
    }
    raw = float(np.prod(list(details.values())))
    return Measured(raw, raw, details=details)


def saliency(lab: Lab) -> Plane:
    """How much each cell stands out, 0 or more: its surprise in structure times its contrast in colour and detail."""
    surprise = np.zeros(lab.shape[:2], np.float64)
    for channel in range(3):
        plane = lab[..., channel]
        if float(np.ptp(plane)) > _EMPTY:
            surprise += _residual(plane)
    away = np.linalg.norm(lab - lab.mean(axis=(0, 1)), axis=2)
    detail = np.hypot(np.gradient(lab, axis=0), np.gradient(lab, axis=1)).sum(axis=2)
    smooth = blur(np.sqrt(surprise) * (away + 2 * detail), 2.5)
    return np.maximum(smooth - max(float(np.median(smooth)), 0.2 * float(smooth.max())), 0)


def _residual(plane: Plane) -> npt.NDArray[np.float64]:
    """What the spectrum has over its local mean, back in space and squared."""
    spectrum = np.fft.fft2(plane - plane.mean())
    size = np.log(np.abs(spectrum) + 1e-6)
    residual = size - ndimage.uniform_filter(size, 3, mode="wrap")
    return np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2


def _wholeness(weight: Plane) -> float:
    """1 if none of the subject is at the border. Portraits stand on the lower one: it counts a quarter."""
    sides = (weight[:_BORDER], weight[:, :_BORDER], weight[:, -_BORDER:])
    at_border = sum(float(side.sum()) for side in sides) + 0.25 * float(weight[-_BORDER:].sum())
    return curve.harmless(at_border, 0.06, 2.0)


def _placement(weight: Plane) -> float:
    """By the distance of the centre of mass from the nearest of the centre and the four crossings of the thirds."""
    x, y = _centre(weight)
    distance = min(float(np.hypot(x - px, y - py)) for px, py in _ANCHORS)
    return curve.harmless(distance, 0.22, 2.0)


def _headroom(weight: Plane) -> float:
    """1 unless the subject begins in the lower half: then there is nothing but headroom."""
    rows = np.cumsum(weight.sum(axis=1))
    top = float(np.searchsorted(rows, 0.1)) / len(rows)
    return curve.harmless(max(0.0, top - 0.4), 0.25, 2.0)


def _centre(weight: Plane) -> tuple[float, float]:
    """Of mass, 0..1 across and down."""
    down, across = ((np.arange(size) + 0.5) / size for size in weight.shape)
    return float(weight.sum(axis=0) @ across), float(weight.sum(axis=1) @ down)
