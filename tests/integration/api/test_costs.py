"""GET /v1/costs, and the counters for Prometheus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.api.client import Api
from tests.integration.api.double import WorkerDouble

HOURLY = 3.6


async def one_of_team(api: Api, worker: WorkerDouble, team: str) -> float:
    """Runs a job; its dollars."""
    body = {"params": {"prefix": "x"}, "metadata": {"team": team}, "tenant": "acme"}
    job = (await api.post("/v1/workflows/blank/jobs", body)).json
    await worker.finish(await worker.start(job["id"]))
    return (await api.get(f"/v1/jobs/{job['id']}")).json["cost"]


@pytest.mark.parametrize("by", ["workflow", "version", "tenant", "pool", "gpu", "worker", "kind", "label[team]"])
async def test_however_it_is_put_together_it_comes_to_the_same(
    api: Api, blank: str, worker: WorkerDouble, by: str
) -> None:
    spent = {team: await one_of_team(api, worker, team) for team in ("red", "blue")}
    costs = (await api.get(f"/v1/costs?group_by={by}")).json
    rows, total = {row["key"]: row for row in costs["rows"]}, costs["total"]
    assert sum(row["seconds"] for row in rows.values()) == pytest.approx(total["seconds"], abs=0.01)
    assert total["dollars"] == pytest.approx(total["seconds"] * HOURLY / 3600, abs=1e-5)
    assert sum(spent.values()) > 0
    assert total["dollars"] > sum(spent.values()) - 1e-6  # idle seconds cost, too; whole microdollars are told
    expected = {
        "workflow": {"blank"}, "version": {"blank@1"}, "tenant": {"acme"}, "pool": {"default"}, "gpu": {"a100"},
        "worker": {"w"}, "kind": {"load"}, "label[team]": {"red", "blue"},
    }  # fmt: skip
    assert expected[by] <= set(rows)
    if by == "label[team]":
        assert {team: rows[team]["dollars"] for team in spent} == pytest.approx(spent, abs=1e-5)


async def test_what_cannot_be_asked_for_is_refused_by_name(api: Api) -> None:
    assert (await api.get("/v1/costs?group_by=colour")).json["error"]["code"] == "invalid_group"
    reply = await api.get("/v1/costs?from=2026-03-02T00:00Z&to=2026-03-01T00:00Z")
    assert (reply.status, reply.json["error"]["code"]) == (422, "invalid_period")
    assert (await api.get("/v1/costs?from=yesterday")).status == 400


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00%2B14:00"])
async def test_the_ends_of_time_are_none_of_ours(api: Api, moment: str) -> None:
    assert (await api.get(f"/v1/costs?to={moment}")).json["error"]["code"] == "invalid_period"
    assert (await api.get(f"/v1/costs?from={moment}")).json["error"]["code"] == "invalid_period"


async def test_the_longest_time_back_from_now_may_have_been_reckoned_a_moment_ago(api: Api) -> None:
    since = datetime.now(UTC) - timedelta(days=400, seconds=2)
    assert (await api.get(f"/v1/costs?from={since.isoformat(timespec='seconds')[:19]}Z")).status == 200


async def test_prometheus_counts_the_same(api: Api, blank: str, worker: WorkerDouble) -> None:
    spent = await one_of_team(api, worker, "red")
    async with api.http.get("/metrics") as response:
        families = {family.name: family for family in text_string_to_metric_families(await response.text())}
    dollars = [
        sample.value
        for sample in families["comfyfleet_cost_dollars"].samples
        if sample.labels["workflow"] == "blank" and sample.name.endswith("_total")
    ]
    assert sum(dollars) == pytest.approx(spent, abs=1e-6)
