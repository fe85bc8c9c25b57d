"""`bench`: runs the measurements one after the other and prints each beside its target."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli.bench.figures import Figure
from orchestrator.cli.bench.quality import quality
from orchestrator.cli.console import emit_json, emit_table, err, out
from orchestrator.cli.options import AsJson


class Area(StrEnum):
    """What to measure."""

    FLEET = "fleet"
    QUALITY = "quality"


def bench(
    area: Annotated[Area, typer.Argument(help="The fleet's speed, or what the scores of pictures mean.")] = Area.FLEET,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Of quality: a folder for plots and the worst errors, as PNGs."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure against the targets: the fleet in six minutes, best on an idle machine; or quality, in two."""
    figures = quality(out_folder) if area is Area.QUALITY else asyncio.run(_measure())
    if as_json:
        emit_json([{**asdict(figure), "met": figure.met} for figure in figures])
    else:
        emit_table(("figure", "measured", "target", "", "detail"), map(_row, figures), empty="nothing was measured")
        for figure in figures:
            out.print(f"{figure.name}: {figure.how}", style="dim", markup=False, soft_wrap=True)


async def _measure() -> list[Figure]:
    from orchestrator.cli.bench import measures as speed
    from orchestrator.cli.bench.fan_out import fan_out
    from orchestrator.cli.bench.fleet import ground
    from orchestrator.cli.bench.native_sockets import native_sockets
    from orchestrator.cli.bench.peers import api_v2
    from orchestrator.cli.bench.recovery import agents_that_fail, comfyuis_that_fail
    from orchestrator.cli.bench.scale_out import scale_out
    from orchestrator.cli.bench.yardstick import installed

    figures: list[Figure] = []
    chosen = [speed.submits, speed.cpu_per_job, speed.saturation, speed.idle_gap, speed.submit_to_running, fan_out]
    chosen.append(native_sockets)
    if speed.DECISION.exists():  # it is no part of the package, but there in a checkout of the repository
        chosen.append(speed.decision)
    if installed():
        chosen.append(api_v2)
    else:
        err.print("comfy-api-proxy is not installed (it is a development tool: make setup): not compared", style="dim")
    async with ground() as place:
        for measure in (*chosen, comfyuis_that_fail, agents_that_fail, scale_out):
            err.print(f"measuring {measure.__name__.replace('_', ' ')}", style="dim")
            figures += [figure async for figure in measure(place)]
    return figures


def _row(figure: Figure) -> tuple[str | Text, ...]:
    met = Text("met", style="green") if figure.met else Text("missed", style="red")
    target = f"{figure.sense} {_value(figure.target, figure.unit)}"
    return figure.name, _value(figure.value, figure.unit), target, met, figure.detail


def _value(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
