"""A simulation as a picture: how long jobs took under each policy, and how many were in the fleet over the day.

matplotlib draws it, which is not installed with comfyfleet itself: it is the extra `plot`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidRequest
from orchestrator.simulator.fleet.figures import Result, by_policy
from orchestrator.simulator.fleet.policies import REFERENCE, Scheduler

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GREY, PALE = "#1c2733", "#6b7785", "#e6e9ed"
OURS = "#e4572e"
# Told apart also by who does not see all colours; dark to light, as many as there are baselines.
OTHERS = ("#2e4a7d", "#2a8fa8", "#7a5195", "#b08900", "#5a9e6f", "#8fa3bf")
SIZE, DPI = (13.0, 5.6), 160
FAR_S = 3600.0  # beyond so many seconds the axis ends, if it would go on
TICKS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
CROPPED = 2.2  # times the most jobs of our own policy: what is above is beyond comparing


def check_drawable() -> None:
    """Raises InvalidRequest where matplotlib is missing: better before a long simulation than after it."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise InvalidRequest(
            "no_matplotlib", "--plot needs matplotlib: pip install 'comfyfleet[plot]' and run it again"
        ) from None


def draw(by_seed: Mapping[int, Sequence[Result]], setting: Mapping[str, Any], target: Path) -> None:
    """Writes a PNG. Of several seeds it shows the means."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    results = by_policy(by_seed)
    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    latency, load = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _latency(latency, results)
    _load(load, results, float(setting["hours"]))
    for axes in (latency, load):
        _quiet(axes)
    handles, labels = latency.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.015),
        ncols=len(labels),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    figure.text(0.0235, 0.94, _title(setting, len(by_seed)), fontsize=13, fontweight="bold", color=INK)
    figure.subplots_adjust(left=0.045, right=0.985, top=0.85, bottom=0.155, wspace=0.16)
    figure.savefig(target, format="png")


def _latency(axes: Axes, results: Mapping[str, Sequence[Result]]) -> None:
    """The share of jobs that took at most so long."""
    for policy, several in results.items():
        points = [fmean(values) for values in zip(*(result.quantiles for result in several), strict=True)]
        shares = [100 * n / (len(points) - 1) for n in range(len(points))]
        axes.plot(points, shares, **_style(policy, list(results)), label=policy)
    axes.set_xscale("log")
    ends = [(result.quantiles[1], result.quantiles[-1]) for several in results.values() for result in several]
    axes.set_xticks(TICKS_S)
    axes.minorticks_off()
    axes.set_xlim(min(first for first, _ in ends), min(max(last for _, last in ends), FAR_S))
    axes.set_ylim(0, 100)
    axes.xaxis.set_major_formatter(lambda value, _: _duration(value))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    axes.set_title("Jobs done within", loc="left", fontsize=10, color=GREY)


def _load(axes: Axes, results: Mapping[str, Sequence[Result]], hours: float) -> None:
    """Jobs that had arrived and not ended, over time."""
    ours_at_most = 0.0
    for policy, several in results.items():
        points = [fmean(values) for values in zip(*(result.in_system for result in several), strict=True)]
        times = [n * hours / (len(points) - 1) for n in range(len(points))]
        axes.plot(times, points, **_style(policy, list(results)))
        if policy == REFERENCE:
            axes.fill_between(times, points, color=PALE, linewidth=0)
        if policy in (REFERENCE, Scheduler.name):
            ours_at_most = max(ours_at_most, *points)
    axes.set_xlim(0, hours)
    axes.set_ylim(0, min(axes.get_ylim()[1], CROPPED * ours_at_most))
    axes.set_xticks([n * hours / 8 for n in range(9)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g} h")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title("Jobs in the fleet, waiting and running, over the day", loc="left", fontsize=10, color=GREY)


def _style(policy: str, policies: Sequence[str]) -> dict[str, Any]:
    if policy == REFERENCE:
        return {"color": INK, "linewidth": 1.3, "linestyle": (0, (4, 2)), "zorder": 4}
    if policy == Scheduler.name:
        return {"color": OURS, "linewidth": 2.3, "zorder": 5, "solid_capstyle": "round"}
    baselines = [it for it in policies if it not in (REFERENCE, Scheduler.name)]
    return {"color": OTHERS[baselines.index(policy) % len(OTHERS)], "linewidth": 1.2, "alpha": 0.9, "zorder": 3}


def _quiet(axes: Axes) -> None:
    """Lines speak; frames and ticks do not."""
    axes.grid(True, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=GREY, labelsize=9, length=0, which="both")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _title(setting: Mapping[str, Any], seeds: int) -> str:
    source = setting["trace"] or "made-up days"
    mean = f", mean of {seeds} seeds" if seeds > 1 else ""
    return f"{setting['workers']} workers at load {setting['rho']:g}: {source}, {setting['preset']} world{mean}"


def _duration(value: float) -> str:
    """Seconds on an axis."""
    return f"{value:g} s" if value < 60 else f"{value / 60:.3g} min" if value < 3600 else f"{value / 3600:.3g} h"
