"""`comfyfleet simulate`: policies against each other on a fleet in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from orchestrator.cli.console import emit_table, err
from orchestrator.errors import InvalidRequest
from orchestrator.simulator.fleet import figures, generated, trace
from orchestrator.simulator.fleet.figures import Result
from orchestrator.simulator.fleet.hardware import PRESETS, UNKIND, machines
from orchestrator.simulator.fleet.plot import check_drawable, draw
from orchestrator.simulator.fleet.policies import POLICIES, REFERENCE, Scheduler, chosen
from orchestrator.simulator.fleet.workload import overlay
from orchestrator.simulator.fleet.world import World

OUTAGES_UNTIL = 3  # times the hours that are simulated: a fleet that falls behind is not spared
REPORTED = 100  # jobs between two steps of the progress bar
COLUMNS = (
    "policy", "mean", "p50", "p99", "max", "mean/ref", "p99/ref", "TB loaded", "loads", "swaps", "busy", "fairness",
    "lost",
)  # fmt: skip

Trace = Annotated[
    Path | None, typer.Option("--trace", metavar="CSV", help="Requests as GenTD26 has them; else days are made up.")
]
Workers = Annotated[int, typer.Option(min=1, help="Workers in the fleet.")]
Policies = Annotated[str, typer.Option("--policy", metavar="NAMES", help=f"all, or some of {', '.join(POLICIES)}.")]
Rho = Annotated[float, typer.Option(min=0.01, max=2.0, help="Share of the fleet that the requests would keep busy.")]
Seeds = Annotated[str, typer.Option("--seed", metavar="N,N", help="Same seed, same result; of several, the mean.")]
Hours = Annotated[float, typer.Option(min=0.1, max=24.0, help="Only so many hours, the busiest of the days.")]
World_ = Annotated[str, typer.Option("--preset", help=f"The world: {' or '.join(PRESETS)}.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write all figures there as JSON.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="PNG", help="Draw latencies and load there.")]


def simulate(
    trace_file: Trace = None,
    workers: Workers = 16,
    policy: Policies = "all",
    rho: Rho = 0.3,
    seed: Seeds = "1",
    hours: Hours = 24.0,
    preset: World_ = UNKIND.name,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Compare the scheduler with what others do, on a simulated fleet: latency, loading, fairness."""
    if preset not in PRESETS:
        raise InvalidRequest("unknown_preset", f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    _check_targets(json, plot)
    setting = {
        "trace": trace_file.name if trace_file else None,
        "workers": workers, "rho": rho, "hours": hours, "preset": preset,
    }  # fmt: skip
    rows = trace.read(trace_file) if trace_file else None
    names, seeds = chosen(policy), _seeds(seed)
    results: dict[int, list[Result]] = {}
    for number in seeds:
        wishes = PRESETS[preset].wishes(workers, rho, hours)
        workload = overlay(rows or generated.generate(number), wishes, number)
        fleet = machines(PRESETS[preset], workers, number, OUTAGES_UNTIL * hours * 3600)
        results[number] = []
        for name in names:
            with _progress(f"{name}, seed {number}", len(workload.requests)) as progress:
                outcome = World(workload, fleet, POLICIES[name](workload.taught), number).run(progress)
            reference = results[number][0] if results[number] else None
            results[number].append(figures.summarise(name, outcome, hours, reference))
    if json is not None:
        json.write_bytes(orjson.dumps(figures.document(setting, results), option=orjson.OPT_INDENT_2) + b"\n")
    if plot is not None:
        draw(results, setting, plot)
    _show(results)


def _check_targets(json: Path | None, plot: Path | None) -> None:
    """Whoever waited for a simulation wants to have its result."""
    for target in filter(None, (json, plot)):
        if not target.parent.is_dir():
            raise InvalidRequest("no_folder", f"{target} cannot be written: there is no folder {target.parent}")
    if plot is not None:
        check_drawable()


def _seeds(given: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(part) for part in given.split(",")))
    except ValueError:
        raise InvalidRequest("bad_seed", f"--seed takes whole numbers, as 1 or 1,2,3, and not {given!r}") from None


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of jobs that have ended, on a terminal, for as long as the body runs."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        task = bars.add_task(what, total=total)

        def advance(ended: int) -> None:
            if ended % REPORTED == 0:
                bars.update(task, completed=ended)

        yield advance


def _show(results: dict[int, list[Result]]) -> None:
    rows: list[Sequence[str | Text]] = []
    for policy, several in figures.by_policy(results).items():
        it = figures.averaged(several)
        ours = "bold" if policy == Scheduler.name else "dim" if policy == REFERENCE else ""
        cells = (
            policy, _seconds(it["mean_s"]), _seconds(it["p50_s"]), _seconds(it["p99_s"]), _seconds(it["max_s"]),
            f"{it['mean_ratio']:.3f}", f"{it['p99_ratio']:.3f}", f"{it['vram_tb']:.1f}", f"{it['loads']:,.0f}",
            f"{it['swaps']:,.0f}", f"{it['utilisation']:.0%}", f"{it['fairness']:.3f}", f"{it['lost']:.0f}",
        )  # fmt: skip
        rows.append([Text(cell, style=ours) for cell in cells])
    emit_table(COLUMNS, rows, empty="nothing was simulated")


def _seconds(value: float) -> str:
    return f"{value:,.1f} s" if value < 100 else f"{value:,.0f} s"
