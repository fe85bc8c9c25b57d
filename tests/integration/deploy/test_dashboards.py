"""Dashboards and alerts ask Prometheus for what a fleet really tells: each query is tried on a real one."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.fixtures.comfyui import StartSimProcess
from tests.fixtures.failing import Installed
from tests.fixtures.up import Node, has, until
from tests.fixtures.watched import FAULTS, keep_busy, prometheus, register

DEPLOY = Path(__file__).parents[3] / "deploy"
METRICS = (DEPLOY.parent / "ops/metrics.md").read_text()
MADE: dict[Path, str] = runpy.run_path(str(DEPLOY / "grafana/dashboards.py"))["texts"]()
DASHBOARDS = [pytest.param(json.loads(text), id=path.stem) for path, text in MADE.items()]
UNITS = ["short", "s", "bytes", "Bps", "cpm", "percentunit", "currencyUSD", "bool_yes_no"]

_SOURCE = {"const": {"type": "prometheus", "uid": "${datasource}"}}
_TARGET = {
    "type": "object", "required": ["refId", "expr", "legendFormat", "datasource"], "additionalProperties": False,
    "properties": {"refId": {"pattern": "^[A-Z]$"}, "expr": {"type": "string", "minLength": 1},
                   "legendFormat": {"type": "string", "minLength": 1}, "datasource": _SOURCE},
}  # fmt: skip
_PANEL = {
    "type": "object", "required": ["id", "title", "type", "datasource", "gridPos", "fieldConfig", "targets"],
    "properties": {
        "id": {"type": "integer", "minimum": 1}, "title": {"type": "string", "minLength": 1},
        "type": {"enum": ["timeseries", "stat", "state-timeline"]}, "datasource": _SOURCE,
        "gridPos": {"type": "object", "required": ["h", "w", "x", "y"],
                    "properties": {"x": {"minimum": 0, "maximum": 16}, "w": {"const": 8}}},
        "fieldConfig": {"type": "object", "required": ["defaults", "overrides"], "properties": {
            "defaults": {"type": "object", "required": ["unit"], "properties": {"unit": {"enum": UNITS}}}}},
        "targets": {"type": "array", "minItems": 1, "items": _TARGET},
    },
}  # fmt: skip
SCHEMA = {
    "type": "object", "required": ["uid", "title", "schemaVersion", "templating", "panels", "time", "refresh"],
    "properties": {
        "uid": {"pattern": "^[a-z-]{1,40}$"}, "schemaVersion": {"type": "integer", "minimum": 36},
        "templating": {"type": "object", "properties": {"list": {
            "type": "array", "minItems": 1, "items": {"type": "object", "required": ["name", "type", "query"]}}}},
        "panels": {"type": "array", "minItems": 1, "items": _PANEL},
    },
}  # fmt: skip


def test_the_files_are_what_the_table_makes() -> None:
    assert {path: path.read_text() for path in (DEPLOY / "grafana/dashboards").iterdir()} == MADE, (
        "run python deploy/grafana/dashboards.py"
    )


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_a_dashboard_is_one(dashboard: dict[str, Any]) -> None:
    jsonschema.validate(dashboard, SCHEMA)
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) - {"__rate_interval"}
    assert used == variables


def test_what_is_provisioned_is_there() -> None:
    provisioning = DEPLOY / "grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())["global"]["scrape_interval"]
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == scraped
    [provider] = yaml.safe_load((provisioning / "dashboards/comfyfleet.yaml").read_text())["providers"]
    assert provider["type"] == "file"


def panel_queries() -> Iterator[tuple[str, str]]:
    for param in DASHBOARDS:
        for panel in param.values[0]["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "10s")
                yield f"{param.id}: {panel['title']}", re.sub(r"\$\w+", ".*", query)


def alert_queries() -> Iterator[tuple[str, str]]:
    """What each alert looks at: the sides of its comparisons, and not whether they hold."""
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            for condition in re.split(r"\s(?:and|unless)(?: on \(\w+\))?\s", rule["expr"]):
                looked_at = re.sub(r"\s(?:==|>)\s[\d.]+\s*$", "", condition)
                yield f"alert {rule['alert']}", re.sub(r"\[\d+[mh]\]", "[10s]", looked_at)


QUERIES = [*panel_queries(), *alert_queries()]


def test_only_metrics_are_asked_for_that_are_documented() -> None:
    asked = {name for _, query in QUERIES for name in re.findall(r"\bcomfyfleet_\w+", query)}
    for name in sorted(asked):
        assert f"`{re.sub('_(bucket|sum|count)$', '', name)}`" in METRICS, name


@pytest.mark.timeout(180)
@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus here (Debian: apt-get install prometheus)"
)
async def test_each_query_is_answered_of_a_busy_fleet(
    node: Node, sim_process: StartSimProcess, installed: Installed, tmp_path: Path
) -> None:
    sims = [await sim_process(faults=FAULTS, step_seconds=0.002) for _ in range(3)]
    attached = [{"id": f"sim-{n}", "url": sim.url, "gpu": "l4"} for n, sim in enumerate(sims)]
    broken = installed("broken", {"crash": "ImportError: no module named torch"}, gpu="l4")
    broken["comfyui"] = str(broken["comfyui"])
    node.configure(
        workers=[*attached, broken], gpu_rates={"l4": 0.8}, leases={"worker_s": 3, "heartbeat_s": 1},
        supervision={"quarantine_failures": 2, "min_free_gb": 0},
    )  # fmt: skip
    fleet = (await node.up()).fleet
    await register(fleet)
    async with prometheus(tmp_path, fleet.url) as asked:
        busy = asyncio.create_task(keep_busy(fleet))
        await until(lambda: has(fleet, "succeeded", 3), "the fleet to work")
        await sims[-1].kill()
        unanswered = dict.fromkeys(QUERIES)

        async def all_answered() -> bool:
            if busy.done():
                busy.result()
            for name, query in list(unanswered):
                if await asked.ask(query):
                    del unanswered[name, query]
            return not unanswered

        try:
            await until(all_answered, "all queries")
        finally:
            busy.cancel()
            print("without an answer:", *(f"{name}: {query}" for name, query in unanswered), sep="\n  ")
            await asyncio.wait((busy,))
