"""Draws the dashboards without a Grafana: every panel as a plot of what a Prometheus answers to its queries.

For machines where no Grafana runs, and to look at a change of dashboards.py before anybody else does.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

COLUMNS = 3
POINTS = 120

Series = tuple[str, list[float], list[float]]  # legend, seconds before the end, values


def answered(url: str, target: dict[str, Any], minutes: float) -> Iterator[Series]:
    """The series of one query over the last minutes, as Grafana would ask for them."""
    now, window = time.time(), minutes * 60
    query = target["expr"].replace("$__rate_interval", f"{max(10, round(window / 20))}s")
    asked = {
        "query": re.sub(r"\$\w+", ".*", query), "start": now - window, "end": now, "step": max(1, window / POINTS),
    }  # fmt: skip
    with urlopen(f"{url}/api/v1/query_range", urlencode(asked).encode()) as answer:
        found = json.load(answer)["data"]["result"]
    for series in found:
        legend = target["legendFormat"]
        for name in re.findall(r"\{\{(\w+)\}\}", legend):
            legend = legend.replace(f"{{{{{name}}}}}", series["metric"].get(name, ""))
        points = [(float(at) - now, float(value)) for at, value in series["values"] if value != "NaN"]
        if points:
            at, values = zip(*points, strict=True)
            yield legend.strip() or "(none)", list(at), list(values)


def draw(axes: Axes, url: str, panel: dict[str, Any], minutes: float) -> None:
    found = [series for target in panel["targets"] for series in answered(url, target, minutes)]
    axes.set_title(f"{panel['title']} [{panel['fieldConfig']['defaults']['unit']}]", fontsize=9)
    axes.tick_params(labelsize=7)
    if not found:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes)
    for legend, at, values in found:
        axes.plot(at, values, label=legend, marker="." if len(at) < 3 else "", linewidth=1)
    if found:
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        axes.legend(fontsize=6, loc="upper left", framealpha=0.5)


def plot(url: str, dashboard: dict[str, Any], minutes: float, to: Path) -> None:
    panels = dashboard["panels"]
    rows = -(-len(panels) // COLUMNS)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(16, 3.2 * rows), squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, panel in zip(grid.flat, panels, strict=False):
        draw(axes, url, panel, minutes)
    figure.suptitle(dashboard["title"])
    figure.tight_layout()
    figure.savefig(to, dpi=80)
    plt.close(figure)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("url", help="where Prometheus answers, e.g. http://127.0.0.1:9090")
    options.add_argument("-o", "--output", type=Path, default=Path("plots"))
    options.add_argument("--minutes", type=float, default=60)
    given = options.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for file in sorted((Path(__file__).parent / "dashboards").glob("*.json")):
        plot(given.url.rstrip("/"), json.loads(file.read_text()), given.minutes, given.output / f"{file.stem}.png")


if __name__ == "__main__":
    main()
