"""`comfyfleet bench quality`: whether the scores of the node pack mean anything.

The pack measures itself, in a process of its own: it runs in ComfyUI and is no part of what is imported here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

import orchestrator
from orchestrator.cli.bench.figures import Figure
from orchestrator.cli.console import err
from orchestrator.errors import FleetError

AUC, MONOTONE, DRIFT, MS = 0.98, 0.95, 1e-3, 150.0
_REPOSITORY = Path(orchestrator.__file__).parent.parent


def quality(out: Path | None) -> list[Figure]:
    """Four figures for each dimension that needs no encoder. `out` is a folder for plots and the worst errors."""
    err.print("scoring pictures that got worse by known amounts: about two minutes", style="dim")
    command = [sys.executable, "-m", "comfy_nodes.evidence", "--json"]
    command += [] if out is None else ["--out", str(out.resolve())]
    ended = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = (ended.stderr.strip() or "it said nothing").splitlines()[-1]
        raise FleetError(
            "bench_failed",
            f"the node pack could not be measured: {last}. It takes a checkout with development tools: "
            "run make setup, then .venv/bin/comfyfleet bench quality",
        )
    if out is not None:
        err.print(f"score against strength: {out / 'scores.png'}; the worst errors: {out / 'worst.png'}", style="dim")
    report = orjson.loads(ended.stdout)
    return [figure for one in report["dimensions"] for figure in _figures(one, report)]


def _figures(one: dict[str, Any], report: dict[str, Any]) -> Iterator[Figure]:
    name = one["dimension"].replace("_", " ")
    cases = ", ".join(f"{case['name']} {case['auc']:.3f}" for case in one["cases"])
    pictures = f"{report['photographs']} photographs and {report['drawn']} drawn pictures"
    separated = f"any original against any plainly degraded picture, {pictures}"
    yield Figure(f"{name}: AUC", one["auc"], "", AUC, "at least", separated, cases)
    paired = f"{one['paired']:.3f} of degraded pictures score below their own original"
    yield Figure(
        f"{name}: monotone", one["monotone"], "", MONOTONE, "at least", "steps that do not rise by 0.005", paired
    )
    again = "the same picture in a batch, in another order and precision, with rounding errors"
    yield Figure(f"{name}: drift", one["drift"], "", DRIFT, "at most", again)
    yield Figure(f"{name}: CPU", one["milliseconds"], "ms", MS, "at most", "one picture of 1024 x 1024, CPU time")
