"""The single defects that `artifacts` is made of, each a figure that is 0 where there is none of it.

They are a matter of single pixels, so all work at the native size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .filters import tile_means, tiles
from .picture import Picture, Plane

_BLOCK = 8
_TILE = 16
_REGION = 8  # tiles
_LEVELS = 255.0


def blockiness(plane: Plane) -> float:
    """The step that stands out at every 8th pixel, as a share of all steps.

    After Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG compressed images" (ICIP 2002).
    The grid may begin anywhere, since pictures are cropped; steps above 6 % are edges and count as that much.
    """
    across = _grid_excess(np.abs(np.diff(plane, axis=1)).clip(max=0.06).mean(axis=0, dtype=np.float64))
    down = _grid_excess(np.abs(np.diff(plane, axis=0)).clip(max=0.06).mean(axis=1, dtype=np.float64))
    return max(0.0, (across + down) / 2)


def _grid_excess(steps: npt.NDArray[np.float64]) -> float:
    """`steps` between neighbouring rows or columns: by how much one phase of 8 stands out from those beside it."""
    if len(steps) < 4 * _BLOCK:
        return 0.0
    excess = steps[1:-1] - (steps[:-2] + steps[2:]) / 2
    phases = [np.median(excess[phase::_BLOCK]) for phase in range(_BLOCK)]
    return float(max(phases) / (np.mean(steps) + 0.5 / _LEVELS))


def banding(picture: Picture) -> float:
    """How much of the tones' change happens in steps with nothing between, 0..1: visible contours in gradients.

    A smooth surface changes by one level from pixel to pixel, a banded one by none, none, none and then several (Tandon
    et al., "CAMBI: contrast-aware multiscale banding index", PCS 2021, look for the same in windows). It is judged in
    regions of 128 px, of which the worst quarter counts: a sky may be banded above a landscape that is not.
    """
    levels = np.rint(picture * _LEVELS).astype(np.int16)
    across = np.abs(np.diff(levels[::2], axis=1))
    down = np.abs(np.diff(levels[:, ::2], axis=0))
    return max(_contours(_strongest(across)), _contours(_strongest(down)))


def _strongest(steps: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    return np.maximum(np.maximum(steps[..., 0], steps[..., 1]), steps[..., 2])


def _contours(steps: npt.NDArray[np.int16]) -> float:
    if min(steps.shape) < _TILE:
        return 0.0
    contour = (steps >= 3) & (steps <= 40)  # more is an edge
    none, small, large = (tile_means(part, _TILE) for part in (steps == 0, (steps == 1) | (steps == 2), contour))
    height = tile_means((steps * contour).astype(np.float32), _TILE)
    bare = (none > 0.2) & (small <= 0.25 * none)  # of small steps, which any texture and any noise would have
    small, large, height = (_regions(part) for part in (small, large * bare, height * bare))
    mean_height = height / np.maximum(large, 1e-6)
    shares = large / (large + small + 0.004) * mean_height / (mean_height + 12)
    worst = np.sort(shares, axis=None)[::-1]
    return float(worst[: max(1, len(worst) // 4)].mean())


def _regions(of_tiles: Plane) -> Plane:
    size = min(_REGION, *of_tiles.shape)
    return tile_means(of_tiles, size)


def checkerboard(plane: Plane) -> float:
    """Amplitude, 0..1, of what alternates from pixel to pixel in step all over a tile, in the median tile.

    Upsampling by transposed convolution leaves it (Odena, Dumoulin and Olah, "Deconvolution and checkerboard
    artifacts", Distill 2016).
    """
    cut = tiles(plane, _TILE)
    if not cut.size:
        return 0.0
    (a, b), (c, d) = ([cut[..., y::2, x::2].mean(axis=(2, 3)) for x in (0, 1)] for y in (0, 1))
    patterns = (a - b - c + d, a - b + c - d, a + b - c - d)
    return float(max(np.median(np.abs(pattern)) for pattern in patterns)) / 4


def impulses(plane: Plane) -> float:
    """The share of pixels that stand out from all eight neighbours by more than these differ, and by 12 % at least.

    The test of a rank-conditioned median filter for salt and pepper (Hardie and Barner, TIP 1994).
    """
    high = _of_neighbours(plane, np.maximum)
    low = _of_neighbours(plane, np.minimum)
    centre = plane[1:-1, 1:-1]
    out = np.maximum(centre - high, low - centre)
    return float((out > np.maximum(0.12, high - low)).mean())


def _of_neighbours(plane: Plane, extreme: np.ufunc) -> Plane:
    beside = extreme(plane[:, :-2], plane[:, 2:])
    rows = extreme(beside, plane[:, 1:-1])
    return extreme(extreme(rows[:-2], rows[2:]), beside[1:-1])


def ringing(plane: Plane) -> float:
    """How far the flat side of an edge overshoots next to it, as a share of the edge's height.

    Over-sharpening, Lanczos upscaling and coarse quantisation of frequencies leave it (Marziliano et al., "Perceptual
    blur and ringing metrics", Signal Processing: Image Communication 19, 2004).
    """
    return max(0.0, max(_overshoot(plane[::2]), _overshoot(np.ascontiguousarray(plane[:, ::2].T))) - _TEXTURE)


_TEXTURE = 0.1  # grass and gravel overshoot by chance
_REACH = 10  # px to either side of an edge
_MOST_EDGES = 20_000


def _overshoot(plane: Plane) -> float:
    height = np.zeros_like(plane)
    height[:, 2:-2] = np.abs(plane[:, 4:] - plane[:, :-4])
    edge = height > 0.15
    edge[:, : _REACH + 1] = edge[:, -_REACH - 1 :] = False
    edge[:, 1:-1] &= (height[:, 1:-1] >= height[:, :-2]) & (height[:, 1:-1] > height[:, 2:])
    y, x = np.nonzero(edge)
    if len(y) > _MOST_EDGES:
        some = np.linspace(0, len(y) - 1, _MOST_EDGES).astype(int)
        y, x = y[some], x[some]
    profiles = plane[y[:, None], x[:, None] + np.arange(-_REACH, _REACH + 1)]
    profiles = profiles * np.sign(profiles[:, _REACH + 2] - profiles[:, _REACH - 2])[:, None]
    overshoots = np.concatenate([_overshoots(profiles), _overshoots(-profiles[:, ::-1])])
    return float(np.median(overshoots)) if len(overshoots) >= 100 else 0.0


def _overshoots(rising: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of the lower sides of these profiles, where they are flat far from the edge."""
    far = rising[:, :5]
    unrest = np.ptp(far, axis=1)
    level = far.mean(axis=1)
    top = rising[:, _REACH + 2 : _REACH + 6].max(axis=1)
    below = level - rising[:, 5 : _REACH - 1].min(axis=1) - unrest / 2
    share = (below / np.maximum(top - level, 0.05)).astype(np.float32, copy=False)
    return share[(unrest < 0.03) & (share < 0.5)]  # more is the next edge


def burnt(picture: Picture) -> float:
    """The share of pixels with one channel at its end and another one far from it: colour that was cut off.

    White paper and black cloth are at the end in all channels, and no defect.
    """
    red, green, blue = (picture[::2, ::2, channel] for channel in range(3))
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    ended = (highest >= 254.5 / _LEVELS) | (lowest <= 0.5 / _LEVELS)
    return float((ended & (highest - lowest > 0.25)).mean())
