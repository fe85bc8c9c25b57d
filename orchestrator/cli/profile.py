"""`profile`: where a workflow's time goes, node by node."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli.client import ask
from orchestrator.cli.console import emit_json, emit_table, out, seconds
from orchestrator.cli.options import DEFAULT_URL, AsJson, Url

BAR = 30  # characters

Name = Annotated[str, typer.Argument(help="The workflow's name.")]
Version = Annotated[int | None, typer.Option("--version", min=1, help="A version other than the active one.")]


def profile(name: Name, version: Version = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show where a workflow's time goes: its nodes, the dearest first."""
    told = ask(url, "GET", f"/v1/workflows/{name}/profile", version=version)
    if as_json:
        emit_json(told)
        return
    if told["runs"]:
        took, load = told["execute_s"], told["load_s"]
        spread = f"{seconds(took['low'])} to {seconds(took['high'])}"
        head = (
            f"{name}, version {told['version']}: {seconds(took['expected'])} ({spread}) in the last {told['runs']} runs"
        )
        out.print(f"{head}, of which loading {seconds(load['expected'])}", markup=False)
    emit_table(("node", "class", "share", "", "p50", "p90", "p99"), map(_row, told["nodes"]), empty="no runs yet")


def _row(node: dict[str, Any]) -> tuple[str, ...]:
    label = f"{node['node']} {node['title']}" if node["title"] else node["node"]
    bar = "█" * round(node["share"] * BAR)
    percentiles = (seconds(node[key]) for key in ("p50", "p90", "p99"))
    return label, node["class_type"], f"{node['share']:.0%}", bar, *percentiles
