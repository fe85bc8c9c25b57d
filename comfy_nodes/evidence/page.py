"""The evidence to look at: score against strength, and the worst errors side by side, each as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..measures.picture import Picture
from .trial import Trial

_ERRORS = 10
_THUMB = 300
_CAPTION = 34


@dataclass(frozen=True, slots=True)
class Mistake:
    """A plainly degraded picture that scored nearly as well as its original, or better: `gap` is by how much worse."""

    trial: Trial
    picture: int
    strength: int
    gap: float


def plot(trials: Sequence[Trial], path: Path) -> None:
    """One panel a case: the median over all pictures, and the middle 80 % of them."""
    from matplotlib.figure import Figure

    columns = 4
    rows = -(-len(trials) // columns)
    figure = Figure(figsize=(4 * columns, 2.7 * rows), layout="constrained")
    for panel, trial in zip(figure.subplots(rows, columns, sharey=True, squeeze=False).flat, trials, strict=False):
        case, at = trial.case, range(len(trial.case.strengths))
        low, median, high = np.quantile(trial.values, [0.1, 0.5, 0.9], axis=0)
        panel.fill_between(at, low, high, alpha=0.25)
        panel.plot(at, median, marker="o", markersize=3)
        panel.set_xticks(at, [f"{strength:g}" for strength in case.strengths])
        panel.set_ylim(-0.03, 1.03)
        panel.set_title(f"{case.dimension}\n{case.name} · AUC {trial.summary.auc:.3f}", fontsize=9)
        panel.set_xlabel(case.unit, fontsize=8)
    for panel in list(figure.axes)[len(trials) :]:
        panel.set_axis_off()
    figure.savefig(path, dpi=110)


def worst(trials: Sequence[Trial]) -> list[Mistake]:
    """The ten smallest drops from an original to its plainly degraded picture, at most one of each case."""
    mistakes: list[Mistake] = []
    for trial in trials:
        visible = np.array(trial.case.strengths) >= trial.case.visible
        drops = np.where(visible, trial.values[:, :1] - trial.values, np.inf)
        picture, strength = np.unravel_index(int(drops.argmin()), drops.shape)
        mistakes.append(Mistake(trial, int(picture), int(strength), float(drops[picture, strength])))
    return sorted(mistakes, key=lambda mistake: mistake.gap)[:_ERRORS]


def side_by_side(mistakes: Sequence[Mistake], path: Path) -> None:
    """Original and degraded picture of each, with what they scored."""
    height = _THUMB + _CAPTION
    page = Image.new("RGB", (4 * _THUMB + 30, -(-len(mistakes) // 2) * height), "white")
    draw = ImageDraw.Draw(page)
    for number, mistake in enumerate(mistakes):
        case, values = mistake.trial.case, mistake.trial.values[mistake.picture]
        left, top = number % 2 * (2 * _THUMB + 20), number // 2 * height
        for place, strength in enumerate((0, mistake.strength)):
            picture, _ = case.judge(mistake.picture, case.strengths[strength])
            page.paste(_thumb(picture), (left + place * (_THUMB + 5), top + _CAPTION))
            said = f"{case.name} {case.strengths[strength]:g} {case.unit}" if strength else case.dimension
            draw.text((left + place * (_THUMB + 5) + 2, top + 4), f"{said}\nscore {values[strength]:.3f}", fill="black")
    page.save(path)


def _thumb(picture: Picture) -> Image.Image:
    image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    image.thumbnail((_THUMB, _THUMB))
    return image
