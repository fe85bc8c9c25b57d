"""What the commands print: tables for a person at a terminal, plain lines on a pipe, JSON for a program.

Results go to stdout and everything else to stderr, so that `comfyfleet jobs --json | jq` never meets a stray line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 240  # a table on a pipe is for grep: its columns are not squeezed into 80 characters


def _console(stream_is_terminal: bool, *, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, width=None if stream_is_terminal else PIPE_WIDTH)


out = _console(sys.stdout.isatty())
err = _console(sys.stderr.isatty(), stderr=True)

STATUS_STYLE = {
    "succeeded": "green", "running": "cyan", "queued": "yellow", "failed": "red", "expired": "red", "canceled": "dim",
    "ready": "green", "busy": "cyan", "starting": "yellow", "draining": "yellow", "recycling": "yellow",
    "quarantined": "red", "down": "red",
}  # fmt: skip


def emit_json(document: Any) -> None:
    """The document itself, indented, and nothing else on stdout."""
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[RenderableType | None]], *, empty: str) -> None:
    """A table, or the line `empty` (on stderr) when there is nothing to show. Texts are taken as they are."""
    table = Table(box=box.SIMPLE_HEAD if out.is_terminal else None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell or "") if cell is None or isinstance(cell, str) else cell for cell in row))
    if table.row_count:
        # A terminal that is too narrow wraps the lines itself: ids and paths that a table broke could not be copied.
        natural = Measurement.get(out, out.options.update(max_width=PIPE_WIDTH), table).maximum
        Console(width=max(out.width, natural), highlight=False).print(table)
    else:
        err.print(empty)


def status_text(status: str) -> Text:
    return Text(status, style=STATUS_STYLE.get(status, ""))


def seconds(value: float | None) -> str:
    """A duration in seconds as a person reads it: 0.42 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if value is None:
        return "-"
    if value < 10 and value != int(value):
        return f"{value:.2f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days"


def ago(moment: str) -> str:
    """How long ago an ISO 8601 time was."""
    passed = datetime.now(UTC) - datetime.fromisoformat(moment)
    return f"{seconds(max(0, round(passed.total_seconds())))} ago"


def dollars(value: float | None) -> str:
    return "-" if value is None else f"${value:.4f}"


def size(n_bytes: float | None) -> str:
    """A size in bytes as a person reads it, in decimal units."""
    if n_bytes is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
