"""Alerts and runbooks: for each of them there is the other, and what they name exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from orchestrator.cli.main import app

ROOT = Path(__file__).parents[3]
RUNBOOKS = ROOT / "ops" / "runbooks"
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
TOLD = [pytest.param(alert, id=alert["alert"]) for alert in ALERTS]


@pytest.mark.parametrize("alert", TOLD)
def test_an_alert_says_how_urgent_it_is_and_leads_to_its_runbook(alert: dict[str, Any]) -> None:
    runbook = ROOT / alert["annotations"]["runbook"]
    assert runbook == RUNBOOKS / f"{alert['alert']}.md"
    urgency = {"page": "**Page.**", "ticket": "**Ticket.**"}[alert["labels"]["severity"]]
    text = runbook.read_text()
    assert text.startswith(f"# {alert['alert']}\n\n{urgency}")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Look", "Do", "Afterwards"]
    assert alert["annotations"]["summary"].endswith(".")


def test_a_runbook_has_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {alert["alert"] for alert in ALERTS} | {"README"}


@pytest.mark.parametrize("runbook", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_what_a_runbook_tells_to_do_can_be_done(runbook: Path) -> None:
    text = runbook.read_text()
    for command in re.findall(r"(?:^\$ |`)comfyfleet ([a-z][a-z -]*)", text, re.MULTILINE):
        assert _exists(command.split()), f"there is no `comfyfleet {command}`"
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (runbook.parent / link).exists(), link


def _exists(words: list[str]) -> bool:
    """Whether the words begin with a command, be it one of a group."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands"):
            break  # arguments
        command = command.commands.get(word)
        if command is None:
            return False
    return not hasattr(command, "commands")
