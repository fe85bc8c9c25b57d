"""`python -m comfy_nodes.evidence [--json] [--out FOLDER]`: measures, and prints a table or one line of JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .page import plot, side_by_side, worst
from .pictures import DRAWN, PHOTOGRAPHS
from .trial import Trial, drift, milliseconds, trials


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m comfy_nodes.evidence", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    parser.add_argument("--out", type=Path, help="a folder for the plots and the worst errors")
    options = parser.parse_args()
    times = milliseconds()  # first: the cases keep all processors busy
    found: list[Trial] = []
    for trial in trials():
        sys.stderr.write(f"{trial.case.dimension}: {trial.case.name}\n")
        found.append(trial)
    figures = _figures(found, times, drift())
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        plot(found, options.out / "scores.png")
        side_by_side(worst(found), options.out / "worst.png")
    sys.stdout.write(json.dumps(figures) + "\n" if options.json else _table(figures))


def _figures(found: Sequence[Trial], times: dict[str, float], drifts: dict[str, float]) -> dict[str, Any]:
    by_dimension: dict[str, list[Trial]] = defaultdict(list)
    for trial in found:
        by_dimension[trial.case.dimension].append(trial)
    dimensions = [
        {
            "dimension": dimension,
            **_weighed(several),
            "drift": drifts[dimension],
            "milliseconds": times[dimension],
            "cases": [{"name": trial.case.name, "pictures": trial.case.count, **_of(trial)} for trial in several],
        }
        for dimension, several in by_dimension.items()
    ]
    return {"photographs": len(PHOTOGRAPHS), "drawn": DRAWN, "dimensions": dimensions}


def _of(trial: Trial) -> dict[str, float]:
    summary = trial.summary
    return {"auc": summary.auc, "paired": summary.paired, "monotone": summary.monotone}


def _weighed(several: Sequence[Trial]) -> dict[str, float]:
    """The mean over the cases of a dimension, each of which has the same number of pictures or nearly so."""
    return {name: sum(_of(trial)[name] for trial in several) / len(several) for name in ("auc", "paired", "monotone")}


def _table(figures: dict[str, Any]) -> str:
    lines = [f"{'dimension':<24}{'AUC':>8}{'paired':>8}{'monotone':>10}{'drift':>10}{'ms/MP':>8}"]
    for one in figures["dimensions"]:
        head = f"{one['dimension']:<24}{one['auc']:>8.3f}{one['paired']:>8.3f}{one['monotone']:>10.3f}"
        lines.append(f"{head}{one['drift']:>10.1e}{one['milliseconds']:>8.0f}")
        lines += [f"  {c['name']:<22}{c['auc']:>8.3f}{c['paired']:>8.3f}{c['monotone']:>10.3f}" for c in one["cases"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
