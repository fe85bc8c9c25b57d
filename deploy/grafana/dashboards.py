"""The dashboards, as a table of what each panel asks Prometheus; run it to write dashboards/*.json anew.

Grafana's JSON says one thing in two hundred lines, and five of them drift apart. Here a panel is a line or two: its
title, its unit, and per legend a query. What every controller reads from the store is the same at each of them, and is
taken once (`max by`); what one of them counts, or an agent, is its own (`sum by`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COLUMNS, WIDTH, HEIGHT = 3, 8, 8  # Grafana's grid is 24 wide
RATE = "$__rate_interval"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

Queries = Mapping[str, str]  # legend, which may name labels in {{}} -> PromQL


@dataclass(frozen=True)
class Panel:
    """`unit` is one of Grafana's ids; `stacked` where the series are parts of one whole."""

    title: str
    unit: str
    queries: Queries
    description: str = ""
    kind: str = "timeseries"
    stacked: bool = False


@dataclass(frozen=True)
class Dashboard:
    """`choices`: variable -> the metric whose label of that name has its values."""

    title: str
    panels: Sequence[Panel]
    choices: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def uid(self) -> str:
        return f"comfyfleet-{self.title.lower()}"


def rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}[{RATE}]))"


def share(part: str, whole: str) -> str:
    """0 rather than nothing where there is no part, and nothing where there is no whole."""
    return f"({part} or {whole} * 0) / ({whole} > 0)"


def quantiles(metric: str, where: str = "") -> Queries:
    return {
        f"p{percent}": f"histogram_quantile({percent / 100}, {rate(f'{metric}_bucket', 'le', where)})"
        for percent in (50, 95, 99)
    }


def p95(metric: str, by: str, where: str = "") -> Queries:
    return {f"{{{{{by}}}}}": f"histogram_quantile(0.95, {rate(f'{metric}_bucket', f'le, {by}', where)})"}


def mean(metric: str, where: str = "") -> str:
    return f"sum(rate({metric}_sum{{{where}}}[{RATE}])) / (sum(rate({metric}_count{{{where}}}[{RATE}])) > 0)"


def ledger(metric: str, by: str, where: str = "", window: str = f"rate:{RATE}") -> str:
    """Of what the store adds up, which every controller tells."""
    function, _, span = window.partition(":")
    each = f"max by (pool, gpu, workflow, kind) ({function}({metric}{{{where}}}[{span}]))"
    return f"sum by ({by}) ({each})" if by else f"sum({each})"


SECONDS, DOLLARS = "comfyfleet_worker_seconds_total", "comfyfleet_cost_dollars_total"
RUNS = "comfyfleet_runs_ended_total"
OF_WORKFLOW, OF_WORKER = 'workflow=~"$workflow"', 'worker=~"$worker"'
IN_RUNS = 'workflow!=""'
WASTE = 'kind=~"rerun|lost|failed|canceled"'

FLEET = Dashboard("Fleet", (
    Panel("Ready workers", "short", {"ready": 'sum(max by (pool) (comfyfleet_workers{state="ready"}))'}, kind="stat"),
    Panel("Queued runs", "short", {"queued": "sum(max by (pool, priority) (comfyfleet_queued_runs)) or vector(0)"},
          kind="stat"),
    Panel("Redis answers", "bool_yes_no", {"Redis": "min(comfyfleet_store_up)"}, kind="stat"),
    Panel("Runs ended a minute", "cpm", {"{{state}}": f"60 * {rate(RUNS, 'state')}"}, stacked=True),
    Panel("Queue by pool and priority", "short",
          {"{{pool}} {{priority}}": "max by (pool, priority) (comfyfleet_queued_runs)"}, stacked=True),
    Panel("Longest wait in the queue now", "s",
          {"{{pool}} {{priority}}": "max by (pool, priority) (comfyfleet_oldest_queued_seconds)"}),
    Panel("From arrival to result", "s", quantiles("comfyfleet_run_total_seconds"),
          "What a user waits, of runs that succeeded."),
    Panel("From arrival to start", "s", quantiles("comfyfleet_run_wait_seconds")),
    Panel("Busy share", "percentunit",
          {"{{pool}}": share(ledger(SECONDS, "pool", IN_RUNS), ledger(SECONDS, "pool"))},
          "Of the workers' time, what went into runs."),
    Panel("Workers by state", "short", {"{{state}}": "sum by (state) (max by (pool, state) (comfyfleet_workers))"},
          stacked=True),
    Panel("Desired and ready workers", "short", {
        "{{pool}} desired": "max by (pool) (comfyfleet_pool_desired_workers)",
        "{{pool}} ready": 'max by (pool) (comfyfleet_workers{state="ready"})'}),
    Panel("Queued GPU time", "s", {"{{pool}}": "max by (pool) (comfyfleet_pool_queued_seconds)"},
          "How long one worker would need for all that waits."),
    Panel("One decision", "s", quantiles("comfyfleet_decision_seconds")),
    Panel("Round trip to Redis", "s", quantiles("comfyfleet_redis_seconds")),
    Panel("Jobs kept", "short", {"{{status}}": "max by (status) (comfyfleet_jobs)"}),
))  # fmt: skip

WORKFLOW = Dashboard("Workflow", (
    Panel("Runs a minute", "cpm", {"{{workflow}}": f"60 * {rate(RUNS, 'workflow', OF_WORKFLOW)}"}, stacked=True),
    Panel("Runs that failed", "percentunit", {"{{workflow}}": share(
        rate(RUNS, "workflow", f'{OF_WORKFLOW}, state="failed"'),
        rate(RUNS, "workflow", f'{OF_WORKFLOW}, state=~"succeeded|failed"'))}),
    Panel("Where the time goes", "s", {
        "wait": mean("comfyfleet_run_wait_seconds", OF_WORKFLOW),
        "load": mean("comfyfleet_run_load_seconds", OF_WORKFLOW),
        "execute": f"({mean('comfyfleet_run_execute_seconds', OF_WORKFLOW)})"
                   f" - ({mean('comfyfleet_run_load_seconds', OF_WORKFLOW)})",
        "deliver": mean("comfyfleet_run_deliver_seconds", OF_WORKFLOW)}, "Mean of a run.", stacked=True),
    Panel("Arrival to result, p95", "s", p95("comfyfleet_run_total_seconds", "workflow", OF_WORKFLOW)),
    Panel("Arrival to start, p95", "s", p95("comfyfleet_run_wait_seconds", "workflow", OF_WORKFLOW)),
    Panel("Execution, p95", "s", p95("comfyfleet_run_execute_seconds", "workflow", OF_WORKFLOW)),
    Panel("Loading, p95", "s", p95("comfyfleet_run_load_seconds", "workflow", OF_WORKFLOW)),
    Panel("Delivery, p95", "s", p95("comfyfleet_run_deliver_seconds", "workflow", OF_WORKFLOW)),
    Panel("GPU seconds a second", "short", {"{{workflow}}": ledger(SECONDS, "workflow", f"{OF_WORKFLOW}, {IN_RUNS}")},
          "How many workers the workflow keeps busy.", stacked=True),
), {"workflow": RUNS})  # fmt: skip

WORKER = Dashboard("Worker", (
    Panel("State", "short", {
        "{{worker}} {{state}}": f"max by (worker, state) (comfyfleet_worker_state{{{OF_WORKER}}})"},
          kind="state-timeline"),
    Panel("Runs that it has", "short", {"{{worker}}": f"max by (worker) (comfyfleet_worker_runs{{{OF_WORKER}}})"}),
    Panel("Idle between two runs, p95", "s", p95("comfyfleet_worker_idle_gap_seconds", "worker", OF_WORKER),
          "Where the next run was there already."),
    Panel("Models in VRAM", "bytes", {
        "{{worker}}": f'max by (worker) (comfyfleet_worker_models_bytes{{{OF_WORKER}, tier="vram"}})',
        "{{worker}} has": f"max by (worker) (comfyfleet_worker_vram_bytes{{{OF_WORKER}}})"}),
    Panel("Models in RAM", "bytes", {
        "{{worker}}": f'max by (worker) (comfyfleet_worker_models_bytes{{{OF_WORKER}, tier="ram"}})',
        "{{worker}} has": f"max by (worker) (comfyfleet_worker_ram_bytes{{{OF_WORKER}}})"}),
    Panel("Found in VRAM", "percentunit", {"{{worker}}": share(
        rate("comfyfleet_model_hits_total", "worker", OF_WORKER),
        f"({rate('comfyfleet_model_hits_total', 'worker', OF_WORKER)}"
        f" + on (worker) {rate('comfyfleet_model_loads_total', 'worker', OF_WORKER)})")},
          "Of the model files that runs wanted."),
    Panel("Model loads by tier", "cpm",
          {"{{worker}} from {{tier}}": f"60 * {rate('comfyfleet_model_loads_total', 'worker, tier', OF_WORKER)}"}),
    Panel("Bytes loaded", "Bps",
          {"{{worker}} from {{tier}}": rate("comfyfleet_model_loaded_bytes_total", "worker, tier", OF_WORKER)}),
    Panel("Swaps", "cpm", {"{{worker}}": f"60 * {rate('comfyfleet_model_swaps_total', 'worker', OF_WORKER)}"},
          "Runs whose models pushed others out of VRAM."),
    Panel("Restarts by cause", "short",
          {"{{worker}} {{cause}}":
           f"sum by (worker, cause) (increase(comfyfleet_worker_restarts_total{{{OF_WORKER}}}[1h]))"},
          "Of the last hour."),
    Panel("Retries by cause", "short",
          {"{{worker}} {{cause}}":
           f"sum by (worker, cause) (increase(comfyfleet_run_retries_total{{{OF_WORKER}}}[1h]))"},
          "Of the last hour."),
    Panel("Memory of our processes", "bytes",
          {"{{instance}}": 'process_resident_memory_bytes{job="comfyfleet"}'}),
), {"worker": "comfyfleet_worker_runs"})  # fmt: skip

COST = Dashboard("Cost", (
    Panel("Dollars of the last day", "currencyUSD", {"dollars": ledger(DOLLARS, "", "", "increase:1d")}, kind="stat"),
    Panel("Dollars an hour", "currencyUSD", {"dollars": f"3600 * {ledger(DOLLARS, '')}"}, kind="stat"),
    Panel("Idle", "percentunit",
          {"share": share(ledger(SECONDS, "", 'kind="idle"'), ledger(SECONDS, ""))}, kind="stat"),
    Panel("Dollars an hour by pool", "currencyUSD", {"{{pool}} {{gpu}}": f"3600 * {ledger(DOLLARS, 'pool, gpu')}"},
          stacked=True),
    Panel("Dollars an hour by kind", "currencyUSD", {"{{kind}}": f"3600 * {ledger(DOLLARS, 'kind')}"}, stacked=True),
    Panel("Dollars an hour by workflow", "currencyUSD",
          {"{{workflow}}": f"3600 * {ledger(DOLLARS, 'workflow', IN_RUNS)}"}, stacked=True),
    Panel("Dollars a run", "currencyUSD", {"{{workflow}}":
          ledger(DOLLARS, "workflow", IN_RUNS) + " / on (workflow) ("
          + rate(RUNS, "workflow", 'state="succeeded"') + " > 0)"}, "That succeeded; what was wasted is in it."),
    Panel("Waste by workflow", "currencyUSD", {"{{workflow}} {{kind}}":
          f"3600 * {ledger(DOLLARS, 'workflow, kind', WASTE)}"},
          "Dollars an hour for what was not delivered.", stacked=True),
    Panel("Idle share by pool", "percentunit",
          {"{{pool}}": share(ledger(SECONDS, "pool", 'kind="idle"'), ledger(SECONDS, "pool"))}),
    Panel("Worker time by kind", "percentunit", {"{{kind}}":
          f"{ledger(SECONDS, 'kind')} / ignoring (kind) group_left () ({ledger(SECONDS, '')} > 0)"}, stacked=True),
))  # fmt: skip

MARKS, VERDICTS = "comfyfleet_gate_scores_total", "comfyfleet_gate_verdicts_total"
QUALITY = Dashboard("Quality", (
    Panel("Passed by dimension", "percentunit", {"{{workflow}} {{dimension}}": share(
        rate(MARKS, "workflow, dimension", f'{OF_WORKFLOW}, mark="pass"'),
        rate(MARKS, "workflow, dimension", OF_WORKFLOW))}),
    Panel("Misses by dimension", "cpm",
          {"{{dimension}}": "60 * " + rate(MARKS, "dimension", f'{OF_WORKFLOW}, mark="miss"')}, stacked=True),
    Panel("Verdicts", "cpm", {"{{verdict}}": f"60 * {rate(VERDICTS, 'verdict', OF_WORKFLOW)}"}, stacked=True),
    Panel("Accepted at once or after reruns", "percentunit", {"{{workflow}}": share(
        rate(VERDICTS, "workflow", f'{OF_WORKFLOW}, verdict="accept"'),
        rate(VERDICTS, "workflow", f'{OF_WORKFLOW}, verdict=~"accept|fail|review"'))},
          "Of the jobs that were decided."),
    Panel("Reruns an accepted job", "short", {"{{workflow}}": share(
        rate(VERDICTS, "workflow", f'{OF_WORKFLOW}, verdict="rerun"'),
        rate(VERDICTS, "workflow", f'{OF_WORKFLOW}, verdict="accept"'))}),
    Panel("Price of quality", "percentunit", {"{{kind}}":
          ledger(SECONDS, "kind", f'{OF_WORKFLOW}, kind=~"score|rerun"')
          + " / ignoring (kind) group_left () (" + ledger(SECONDS, "", f'{OF_WORKFLOW}, workflow!=""') + " > 0)"},
          "Scoring and reruns, as a share of the GPU time.", stacked=True),
), {"workflow": VERDICTS})  # fmt: skip

DASHBOARDS = (FLEET, WORKFLOW, WORKER, COST, QUALITY)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """As Grafana takes it."""
    return {
        "uid": dashboard.uid, "title": f"comfyfleet: {dashboard.title}", "tags": ["comfyfleet"], "schemaVersion": 39,
        "version": 1, "editable": True, "timezone": "", "refresh": "15s", "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": list(_variables(dashboard.choices))},
        "links": [{"type": "dashboards", "tags": ["comfyfleet"], "title": "comfyfleet", "asDropdown": True,
                   "keepTime": True}],
        "annotations": {"list": []},
        "panels": [_panel(number, panel) for number, panel in zip(count(), dashboard.panels, strict=False)],
    }  # fmt: skip


def _variables(choices: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    for name, metric in choices.items():
        query = f"label_values({metric}, {name})"
        yield {
            "name": name, "type": "query", "label": name, "datasource": DATASOURCE, "definition": query,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1,
            "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
        }  # fmt: skip


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    custom = {"stacking": {"mode": "normal"}, "fillOpacity": 40} if panel.stacked else {}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return {
        "id": number + 1, "title": panel.title, "type": panel.kind, "description": panel.description,
        "datasource": DATASOURCE, "gridPos": {"h": HEIGHT, "w": WIDTH, "x": column * WIDTH, "y": row * HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": custom}, "overrides": []},
        "options": {} if panel.kind == "stat" else {"legend": legend},
        "targets": [
            {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": name, "datasource": DATASOURCE}
            for n, (name, expr) in enumerate(panel.queries.items())
        ],
    }  # fmt: skip


def texts() -> dict[Path, str]:
    """What belongs into which file."""
    return {
        HERE / "dashboards" / f"{dashboard.title.lower()}.json": json.dumps(document(dashboard), indent=1) + "\n"
        for dashboard in DASHBOARDS
    }


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text)
