"""`costs`: who had the workers' time, and what it cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from orchestrator.cli.client import ask
from orchestrator.cli.console import dollars, emit_json, emit_table, out, seconds
from orchestrator.cli.options import DEFAULT_URL, AsJson, Url

WASTE = ("rerun", "discarded", "lost", "failed", "canceled")
OF_JOBS = ("workflow", "version", "tenant")  # where nothing is without one but what no job had
UNUSED = ("idle", "starting", "draining", "recycling", "quarantined")

By = Annotated[
    str, typer.Option("--by", metavar="KEY", help="workflow, version, tenant, pool, gpu, worker, kind or label[NAME].")
]
Days = Annotated[float, typer.Option(min=1 / 24, max=400, help="So many days back from now.")]


def costs(by: By = "workflow", days: Days = 1.0, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Who had the workers' time, and what it cost: jobs, what was in vain, and what was unused."""
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
    told = ask(url, "GET", "/v1/costs", group_by=by, **{"from": since})
    if as_json:
        emit_json(told)
        return
    without = "(unused)" if by in OF_JOBS else "(none)"
    rows = [_row(without if row["key"] is None else row["key"], row) for row in told["rows"]]
    if rows:
        rows.append(_row("total", told["total"]))
    emit_table(
        (by, "time", "load", "execute", "score", "in vain", "unused", "cost"), rows, empty="no worker was up then"
    )
    if told["total"]["unpriced_s"]:
        hint = "set gpu_rates in fleet.yaml, and gpu: of the worker"
        out.print(f"{seconds(told['total']['unpriced_s'])} have no price: {hint}", markup=False)


def _row(key: str, row: dict[str, Any]) -> tuple[str, ...]:
    kinds = row["kinds"]

    def spent(*names: str) -> str:
        total = sum(kinds[name]["seconds"] for name in names if name in kinds)
        return seconds(total) if total else ""

    return (
        key, seconds(row["seconds"]), spent("load"), spent("execute", "jobs"), spent("score"), spent(*WASTE),
        spent(*UNUSED), dollars(row["dollars"] if row["unpriced_s"] < row["seconds"] else None),
    )  # fmt: skip
