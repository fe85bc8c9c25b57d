"""Runs the cases: the values of every picture at every strength, how stable they are, and how long one takes."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from time import process_time
from typing import Any

import numpy as np

from ..measures import Measured
from ..measures.artifacts import artifacts
from ..measures.background_consistency import background_consistency
from ..measures.brand_color import brand_color
from ..measures.composition import composition
from ..measures.garment_accuracy import cut_out, garment_accuracy
from ..measures.picture import Picture, prepare
from ..measures.reference_similarity import reference_similarity
from ..measures.sharpness import sharpness
from . import degradations as by
from .cases import Case, cases
from .pictures import photograph
from .statistics import Summary, Values, summary

_MEGAPIXEL = 1024
_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """A case and what came out: values of pictures x strengths."""

    case: Case
    values: Values

    @property
    def summary(self) -> Summary:
        return summary(self.values, np.array(self.case.strengths) >= self.case.visible)


@lru_cache(1)
def _cases() -> list[Case]:
    return cases()


def trials() -> Iterator[Trial]:
    """All cases, on all processors."""
    known = _cases()
    rows = [(which, number) for which, case in enumerate(known) for number in range(case.count)]
    found: dict[int, list[list[float]]] = {which: [] for which in range(len(known))}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for (which, _), values in zip(rows, pool.map(_row, rows, chunksize=4), strict=True):
            found[which].append(values)
            if len(found[which]) == known[which].count:
                yield Trial(known[which], np.array(found[which]))


def _row(at: tuple[int, int]) -> list[float]:
    case = _cases()[at[0]]
    return [case.judge(at[1], strength)[1].value for strength in case.strengths]


def megapixel_measures() -> dict[str, Callable[[Picture], Measured]]:
    """Each dimension on a picture of 1024 x 1024, with a reference and masks where it takes these."""
    reference = _megapixel()
    mask = np.zeros((_MEGAPIXEL, _MEGAPIXEL), np.float32)
    mask[200:800, 300:700] = 1
    return {
        "sharpness": sharpness,
        "artifacts": artifacts,
        "composition": composition,
        "reference_similarity": lambda picture: reference_similarity(picture, reference),
        "background_consistency": lambda picture: background_consistency(picture, reference, mask),
        "garment_accuracy": lambda picture: garment_accuracy(
            cut_out(picture, mask, "mask"), cut_out(reference, mask, "reference_mask")
        ),
        "brand_color": lambda picture: brand_color(picture, "#FF5A00, #0057B8", 0.02, mask),
    }


def milliseconds() -> dict[str, float]:
    """The median CPU time of a picture of 1024 x 1024, by dimension; preparing it from a tensor's array is in it."""
    picture = by.noise(_megapixel(), 0.01)
    return {dimension: _median_ms(measure, picture) for dimension, measure in megapixel_measures().items()}


def _median_ms(measure: Callable[[Picture], Any], picture: Picture) -> float:
    times: list[float] = []
    for _ in range(_REPEATS):
        began = process_time()
        measure(prepare(picture))
        times.append((process_time() - began) * 1000)
    return statistics.median(times)


def drift() -> dict[str, float]:
    """By dimension, the greatest change of a value when the same picture comes again: alone, as a view into a batch in
    another order of memory, in other precision, and with the rounding errors of another device."""
    picture = by.jpeg(_megapixel(), 15)
    batch = np.stack([np.zeros_like(picture), picture, picture[::-1]])
    channels_first = np.ascontiguousarray(batch.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    rounding = np.random.default_rng(0).uniform(-1e-6, 1e-6, picture.shape).astype(np.float32)
    again = (batch[1], channels_first[1], picture.astype(np.float64), picture * (1 + rounding))
    found: dict[str, float] = {}
    for dimension, measure in megapixel_measures().items():
        value = measure(prepare(picture)).value
        found[dimension] = max(abs(measure(prepare(other)).value - value) for other in again)
    return found


def _megapixel() -> Picture:
    """Four photographs, each mirrored to 512 x 512: real detail all over."""
    names = ("astronaut.png", "coffee.png", "chelsea.png", "motorcycle_left.png")
    quarters = [
        np.pad(p := photograph(name, 512), [(0, 512 - p.shape[0]), (0, 512 - p.shape[1]), (0, 0)], "symmetric")
        for name in names
    ]
    return np.concatenate([np.concatenate(quarters[:2], axis=1), np.concatenate(quarters[2:], axis=1)])
