"""ops/metrics.md is what operators build their dashboards on: it names what is told, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import orchestrator.worker.metrics
from orchestrator.controller.metrics import DispatchMetrics
from tests.integration.api.client import Api
from tests.integration.api.double import WorkerDouble

TABLE = Path(__file__).parents[3] / "ops/metrics.md"


def of_registry(registry: CollectorRegistry) -> set[str]:
    """With the ending that counters have."""
    return {f"{it.name}_total" if it.type == "counter" else it.name for it in registry.collect()}


async def test_the_table_names_every_metric_and_no_other(api: Api, blank: str, worker: WorkerDouble) -> None:
    job = (await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}})).json
    await worker.finish(await worker.start(job["id"]))
    async with api.http.get("/metrics") as response:
        families = list(text_string_to_metric_families(await response.text()))
    told = {f"{it.name}_total" if it.type == "counter" else it.name for it in families}
    leader = CollectorRegistry()
    DispatchMetrics(leader)
    assert orchestrator.worker.metrics.IDLE_GAP  # agents count into the process's own
    told |= of_registry(leader) | of_registry(REGISTRY)
    rows = [line.split("|")[1] for line in TABLE.read_text().splitlines() if line.startswith("| `comfyfleet")]
    documented = {name for row in rows for name in re.findall(r"`(comfyfleet_\w+)`", row)}
    assert documented == {name for name in told if re.match("comfyfleet_(?!.*_created$)", name)}


async def test_jobs_are_counted_by_workflow_and_how_they_ended(api: Api, blank: str, worker: WorkerDouble) -> None:
    job = (await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}})).json
    await worker.finish(await worker.start(job["id"]))
    async with api.http.get("/metrics") as response:
        text = await response.text()
    assert 'comfyfleet_jobs_ended_total{status="succeeded",workflow="blank"} 1.0' in text
