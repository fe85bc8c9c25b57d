"""What is asked of each dimension: that its score follows one degradation, over many pictures.

An "original" is never just the reference once more: it has what an honest result has too, such as the loss of a good
JPEG, a new subject, another pose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ..measures import Measured
from ..measures.artifacts import artifacts
from ..measures.background_consistency import background_consistency
from ..measures.brand_color import brand_color
from ..measures.color import parse_colors
from ..measures.composition import composition
from ..measures.garment_accuracy import cut_out, garment_accuracy
from ..measures.picture import Picture, Plane
from ..measures.reference_similarity import reference_similarity
from ..measures.sharpness import sharpness
from . import degradations as by
from .pictures import PHOTOGRAPHS, SIDE, drawn, photograph, pictures

Judged = tuple[Picture, Measured]


@dataclass(frozen=True, slots=True)
class Case:
    """One dimension under one degradation. `strengths` begins with 0, the original; from `visible` on it is plain."""

    dimension: str
    name: str
    unit: str
    strengths: tuple[float, ...]
    visible: float
    judge: Callable[[int, float], Judged]
    count: int


def cases() -> list[Case]:
    """All of them. The judge of one answers, for the picture of a number and a strength, the picture and its score."""
    return [*_sharpness(), *_artifacts(), _composition(), *_reference(), *_background(), *_garment(), _brand()]


def _without_reference(
    measure: Callable[[Picture], Measured], degrade: Callable[[Picture, float], Picture], chosen: Sequence[Picture]
) -> Callable[[int, float], Judged]:
    def judge(number: int, strength: float) -> Judged:
        picture = degrade(chosen[number], strength) if strength else chosen[number]
        return picture, measure(picture)

    return judge


def _sharpness() -> list[Case]:
    chosen = [picture for _, picture in pictures()]
    tried: list[tuple[str, str, Any, tuple[float, ...], float]] = [
        ("blur", "px", by.gaussian_blur, (0, 0.7, 1, 1.5, 2, 3, 4.5), 1.5),
        ("motion", "px", by.motion_blur, (0, 3, 5, 9, 15, 25), 9),
    ]
    return [
        Case("sharpness", name, unit, strengths, visible, _without_reference(sharpness, degrade, chosen), len(chosen))
        for name, unit, degrade, strengths, visible in tried
    ]


def _artifacts() -> list[Case]:
    every = [picture for _, picture in pictures()]
    colored = [picture for picture in every if float(np.ptp(picture, axis=2).mean()) > 0.02]
    tried: list[tuple[str, str, Any, tuple[float, ...], float, list[Picture]]] = [
        ("jpeg", "100 - quality", by.jpeg, (0, 30, 50, 65, 80, 90), 65, every),
        ("banding", "levels", by.banding, (0, 3, 6, 10, 16, 32), 6, every),
        ("noise", "sigma", by.noise, (0, 0.01, 0.02, 0.04, 0.08, 0.16), 0.04, every),
        ("specks", "share", by.impulses, (0, 0.0005, 0.001, 0.004, 0.01, 0.03), 0.004, every),
        ("checkerboard", "amplitude", by.checkerboard, (0, 0.005, 0.01, 0.02, 0.04), 0.01, every),
        ("oversharpening", "amount", by.oversharpening, (0, 1, 2, 4, 8), 4, every),
        ("burning", "gain", by.burning, (0, 0.5, 1, 2), 1, colored),
    ]
    return [
        Case("artifacts", name, unit, strengths, visible, _without_reference(artifacts, degrade, chosen), len(chosen))
        for name, unit, degrade, strengths, visible, chosen in tried
    ]


_ANCHORS = ((1 / 2, 1 / 2), (1 / 3, 1 / 3), (2 / 3, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 2 / 3))


def _composition() -> Case:
    def judge(number: int, off: float) -> Judged:
        picture = portrait(number, off)
        return picture, composition(picture)

    return Case("composition", "out of frame", "of the way to the border", (0, 0.5, 0.75, 1), 0.75, judge, 39)


def portrait(number: int, off: float) -> Picture:
    """A part of one photograph before another out of focus; `off` is how far it went from its anchor to a border.

    At a quarter it may still stand well, at a half it is out of place, from three quarters on the border cuts it.
    """
    random = np.random.default_rng(number)
    subject = _square(photograph(PHOTOGRAPHS[number % len(PHOTOGRAPHS)]))
    behind = _square(photograph(PHOTOGRAPHS[(number * 5 + 3) % len(PHOTOGRAPHS)]))
    x, y = (position * SIDE for position in _ANCHORS[number % len(_ANCHORS)])
    radius = SIDE * random.uniform(0.13, 0.20)
    x += off * ((SIDE if x >= SIDE / 2 else 0) - x)
    rows, columns = (np.arange(SIDE) for _ in range(2))
    inside = ((columns - x) / radius) ** 2 + ((rows[:, None] - y) / (1.2 * radius)) ** 2 < 1
    moved = np.roll(subject, (int(y - SIDE / 2), int(x - SIDE / 2)), (0, 1))
    return np.where(inside[..., None], moved, by.gaussian_blur(behind, 14) * 0.75 + 0.1).astype(np.float32)


def _square(picture: Picture) -> Picture:
    """SIDE x SIDE, mirrored where the picture ends."""
    missing = [max(0, SIDE - size) for size in picture.shape[:2]]
    return np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")


def _honest(picture: Picture) -> Picture:
    return by.darkening(by.jpeg(picture, 5), 0.01)


def _reference() -> list[Case]:
    chosen = [picture for _, picture in pictures()]

    def judging(degrade: Callable[[Picture, float], Picture]) -> Callable[[int, float], Judged]:
        def judge(number: int, strength: float) -> Judged:
            picture = degrade(_honest(chosen[number]), strength)
            return picture, reference_similarity(picture, chosen[number])

        return judge

    tried: list[tuple[str, str, Any, tuple[float, ...], float]] = [
        ("blur", "px", by.gaussian_blur, (0, 1, 2, 3, 5), 2),
        ("colour shift", "share", by.color_shift, (0, 0.05, 0.1, 0.2, 0.4), 0.1),
        ("displacement", "px", by.displacement, (0, 1, 2, 4, 8), 2),
        ("noise", "sigma", by.noise, (0, 0.02, 0.05, 0.1, 0.2), 0.05),
    ]
    return [
        Case("reference_similarity", name, unit, strengths, visible, judging(degrade), len(chosen))
        for name, unit, degrade, strengths, visible in tried
    ]


def _background() -> list[Case]:
    chosen = [picture for _, picture in pictures()]

    def judging(change: Callable[[Picture, Picture, Plane, float], Picture]) -> Callable[[int, float], Judged]:
        """`change` makes the composite of a background, a new subject and the subject's mask."""

        def judge(number: int, strength: float) -> Judged:
            reference = _square(chosen[number])
            subject = _square(chosen[(number + 7) % len(chosen)])
            mask = disc(number)
            picture = by.jpeg(change(reference, subject, mask, strength), 5)
            return picture, background_consistency(picture, reference, mask)

        return judge

    def composed(behind: Picture, subject: Picture, mask: Plane) -> Picture:
        return np.where(mask[..., None] > 0.5, subject, behind).astype(np.float32)

    def behind(degrade: Callable[[Picture, float], Picture]) -> Callable[[Picture, Picture, Plane, float], Picture]:
        return lambda background, subject, mask, strength: composed(degrade(background, strength), subject, mask)

    def mask_shifted(behind: Picture, subject: Picture, mask: Plane, pixels: float) -> Picture:
        return composed(behind, subject, np.roll(mask, int(pixels), axis=1))

    def haloed(behind: Picture, subject: Picture, mask: Plane, amount: float) -> Picture:
        ring = ndimage.maximum_filter(mask, 5) - mask
        return composed(behind * (1 - amount * ring[..., None]) + amount * ring[..., None], subject, mask)

    tried: list[tuple[str, str, Any, tuple[float, ...], float]] = [
        ("colour shift", "share", behind(by.color_shift), (0, 0.05, 0.1, 0.2, 0.4), 0.1),
        ("blur", "px", behind(by.gaussian_blur), (0, 1, 2, 4), 2),
        ("mask shift", "px", mask_shifted, (0, 1, 2, 4, 8), 2),
        ("halo of 2 px", "brightness", haloed, (0, 0.1, 0.25, 0.5, 0.9), 0.25),
    ]
    return [
        Case("background_consistency", name, unit, strengths, visible, judging(change), len(chosen))
        for name, unit, change, strengths, visible in tried
    ]


def disc(number: int) -> Plane:
    """The mask of a subject somewhere near the middle."""
    random = np.random.default_rng(100 + number)
    x, y = random.uniform(0.35, 0.65, 2) * SIDE
    radius = random.uniform(0.15, 0.28) * SIDE
    rows, columns = (np.arange(SIDE) for _ in range(2))
    return ((columns - x) ** 2 + (rows[:, None] - y) ** 2 < radius**2).astype(np.float32)


_GARMENT = 224


def _garment() -> list[Case]:
    patterns = [photograph(name, _GARMENT) for name in PHOTOGRAPHS] + [drawn(seed, _GARMENT) for seed in range(6)]

    def judging(change: Callable[[int, Picture, float], Picture]) -> Callable[[int, float], Judged]:
        def judge(number: int, strength: float) -> Judged:
            reference = patterns[number]
            picture, mask = worn(number, change(number, reference, strength))
            found = garment_accuracy(cut_out(picture, mask, "mask"), cut_out(reference, None, "reference_mask"))
            return picture, found

        return judge

    def replaced(number: int, garment: Picture, share: float) -> Picture:
        other = patterns[(number + 3) % len(patterns)][: garment.shape[0], : garment.shape[1]]
        return (garment * (1 - share) + other * share) if other.shape == garment.shape else garment

    tried: list[tuple[str, str, Any, tuple[float, ...], float]] = [
        ("colour shift", "share", lambda _, garment, x: by.color_shift(garment, x), (0, 0.1, 0.2, 0.4), 0.2),
        ("another pattern", "share", replaced, (0, 0.25, 0.5, 0.75, 1), 0.75),
        ("blur", "px", lambda _, garment, x: by.gaussian_blur(garment, x), (0, 1, 2, 4), 4),
    ]
    return [
        Case("garment_accuracy", name, unit, strengths, visible, judging(change), len(patterns))
        for name, unit, change, strengths, visible in tried
    ]


def worn(number: int, garment: Picture) -> tuple[Picture, Plane]:
    """A garment turned by up to 15 degrees, 15 % larger or smaller, in other light, before a photograph; its mask."""
    random = np.random.default_rng(number)
    angle, size, light = np.radians(random.uniform(-15, 15)), random.uniform(0.85, 1.15), random.uniform(0.92, 1.06)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / size
    offset: Any = np.array(garment.shape[:2]) / 2 - turn @ np.array([SIDE / 2, SIDE / 2])
    channels = [
        ndimage.affine_transform(garment[..., c], turn, offset, (SIDE, SIDE), order=1, mode="constant", cval=-9)
        for c in range(3)
    ]
    turned = np.stack(channels, axis=-1)
    mask = turned[..., 0] > -1e-3
    behind = by.gaussian_blur(_square(photograph(PHOTOGRAPHS[(number + 4) % len(PHOTOGRAPHS)])), 6)
    picture = np.where(mask[..., None], np.clip(turned * light, 0, 1), behind).astype(np.float32)
    return picture, mask.astype(np.float32)


_BRANDS = ("#FF5A00", "#0057B8", "#00843D", "#E10098", "#FFD100", "#6A0DAD")


def _brand() -> Case:
    """A sign in a brand's colour, in uneven light, in the dulled colours of a photograph; the colour drifts."""
    chosen = [picture for _, picture in pictures()]

    def judge(number: int, strength: float) -> Judged:
        brand = _BRANDS[number % len(_BRANDS)]
        picture = _square(chosen[number])
        picture = 0.25 + 0.5 * (0.8 * picture.mean(axis=2, keepdims=True) + 0.2 * picture)
        light = 1 - 0.02 * np.linspace(0, 1, 120, dtype=np.float32)[:, None, None]
        drift = np.array([-1, 1, 1]) if parse_colors(brand)[0, 0] > 0.5 else np.array([1, -0.5, -1])
        picture[60:180, 100:220] = np.clip(parse_colors(brand)[0] + strength * drift, 0, 1) * light
        picture = by.jpeg(picture.astype(np.float32), 5)
        return picture, brand_color(picture, brand, 0.03)

    return Case("brand_color", "drift", "of 0..1", (0, 0.03, 0.06, 0.12, 0.25), 0.06, judge, len(chosen))
