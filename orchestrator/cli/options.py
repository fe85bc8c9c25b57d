"""The options that many commands share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[str, typer.Option("--url", envvar="COMFYFLEET_URL", metavar="URL", help="Where the fleet answers.")]
DEFAULT_URL = "http://127.0.0.1:8200"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="fleet.yaml; without it ./fleet.yaml is read if there is one."),
]

OutputFolder = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the outputs are saved.")]


def config_path(given: Path | None) -> Path | None:
    """The file to read: the one named, else ./fleet.yaml when it is there, else none."""
    default = Path("fleet.yaml")
    return given or (default if default.is_file() else None)
