"""text_legibility: whether a reader reads what should be written there.

The measure is the character error rate of recognition: edit distance (Levenshtein 1966) by the length of the text.
"""

from __future__ import annotations

import numpy as np

from . import Measure, Measured, Unscorable
from .picture import SMALLEST, Picture, Plane, prepare_mask

MEASURE = Measure("text_legibility", "character-error-rate", 2, "errors per character")


def text_legibility(read: str, wanted: str) -> Measured:
    """Letter case and runs of white space do not count."""
    read, wanted = (" ".join(text.lower().split()) for text in (read, wanted))
    if not wanted:
        raise Unscorable("no text is given: write what the image should say")
    raw = edits(read, wanted) / len(wanted)
    reason = "" if raw < 1 else "no text was read" if not read else f"{read!r} was read"
    return Measured(max(0.0, 1 - raw), raw, reason if raw >= 1 else "")


def edits(one: str, other: str) -> int:
    """Insertions, deletions and replacements that turn one into the other, at least."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]


def lines(picture: Picture, mask: Plane | None, count: int) -> list[Picture]:
    """What the mask covers (None: all), cut into that many lines of the same height."""
    if mask is not None:
        where = prepare_mask(mask, picture.shape) > 0.5
        if not where.any():
            raise Unscorable("the mask covers nothing: it is to cover the text")
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        picture = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if picture.shape[0] < SMALLEST * count or picture.shape[1] < SMALLEST:
        raise Unscorable(f"{picture.shape[1]}x{picture.shape[0]} pixels are too few for {count} lines of text")
    return np.array_split(picture, count)
