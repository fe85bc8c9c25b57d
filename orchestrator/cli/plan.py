"""`plan`: how many workers a load needs, and what they cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli.client import ask
from orchestrator.cli.console import dollars, emit_json, emit_table, err, seconds
from orchestrator.cli.options import DEFAULT_URL, AsJson, Url
from orchestrator.errors import InvalidRequest
from orchestrator.simulator.fleet.capacity import Load, Trial, plan, spread_of

SEED = 1

Jobs = Annotated[float, typer.Option("--jobs-per-hour", min=0.1, max=1e6, help="Jobs that come in an hour.")]
Latency = Annotated[
    float, typer.Option("--latency", min=0.1, metavar="S", help="Seconds in which 95 of 100 jobs are to be done.")
]
OfWorkflow = Annotated[
    str | None,
    typer.Option("--workflow", metavar="NAME", help="Take seconds and rate from what the fleet has learned."),
]
Seconds = Annotated[float | None, typer.Option("--seconds", min=0.01, help="Seconds of a run, where no fleet knows.")]
Rate = Annotated[float | None, typer.Option("--rate", min=0, max=1e6, help="Dollars an hour of a worker.")]


def plan_capacity(
    jobs_per_hour: Jobs,
    latency: Latency,
    workflow: OfWorkflow = None,
    run_s: Seconds = None,
    rate: Rate = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """How many workers a load needs for a latency, and what they cost; by simulation."""
    load = Load(jobs_per_hour, run_s) if run_s is not None else None
    if workflow is not None:
        told = ask(url, "POST", f"/v1/workflows/{workflow}/estimate", {})
        took = told["seconds"]
        if not told["runs"] and run_s is None:
            guess = f"{seconds(took['low'])} to {seconds(took['high'])}"
            err.print(f"{workflow} has not run yet: {guess} a run is a guess, --seconds knows better", markup=False)
        spread = spread_of(took["low"], took["high"])
        load = load or Load(jobs_per_hour * told["candidates"], took["expected"], spread)
        if rate is None and told["dollars"]:
            rate = told["dollars"]["expected"] / told["candidates"] / took["expected"] * 3600
    if load is None:
        raise InvalidRequest(
            "no_seconds", "say how long a run takes: --seconds S, or --workflow NAME that a fleet has run"
        )
    trials = plan(load, latency, SEED)
    answer = next(trial for trial in trials if trial.p95_s <= latency)
    if as_json:
        emit_json({
            "workers": answer.workers,
            "dollars_per_hour": None if rate is None else rate * answer.workers,
            "dollars_per_job": None if rate is None else rate * answer.workers / jobs_per_hour,
            "load": asdict(load),
            "trials": [asdict(trial) for trial in trials],
        })  # fmt: skip
        return
    emit_table(
        ("workers", "half done in", "95 % done in", "busy", "an hour", "a job"),
        ([Text(cell, style="bold" if trial is answer else "") for cell in _cells(trial, rate, jobs_per_hour)]
         for trial in trials),
        empty="nothing was tried",
    )  # fmt: skip


def _cells(trial: Trial, rate: float | None, jobs_per_hour: float) -> tuple[str, ...]:
    hourly = None if rate is None else rate * trial.workers
    return (
        str(trial.workers), seconds(trial.p50_s), seconds(trial.p95_s), f"{trial.busy:.0%}", dollars(hourly),
        dollars(None if hourly is None else hourly / jobs_per_hour),
    )  # fmt: skip
