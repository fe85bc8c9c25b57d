"""What the scores of a case add up to. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
"""Pictures x strengths; the first strength is the original."""

_STILL = 0.005
"""A rise of a value that is none."""


@dataclass(frozen=True, slots=True)
class Summary:
    """`auc` compares any original with any plainly degraded picture, `paired` each with itself at every strength."""

    auc: float
    paired: float
    monotone: float


def summary(values: Values, visible: npt.NDArray[np.bool_]) -> Summary:
    """`visible` says which strengths are plain to see."""
    originals, degraded = values[:, 0], values[:, 1:]
    return Summary(
        auc=auc(originals, values[:, visible].ravel()),
        paired=float(np.mean(_above(originals[:, None], degraded))),
        monotone=float((np.diff(values, axis=1) <= _STILL).mean()),
    )


def auc(good: Values, bad: Values) -> float:
    """The chance that a good one scores above a bad one (area under the ROC curve; Mann and Whitney 1947)."""
    return float(np.mean(_above(good[:, None], bad[None])))


def _above(one: Values, other: Values) -> Values:
    return (one > other) + 0.5 * (one == other)
