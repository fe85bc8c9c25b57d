"""Profile and estimate of a workflow, from what its runs took."""

from __future__ import annotations

from tests.integration.api.client import Api
from tests.integration.api.double import WorkerDouble

RATE = 3.6


async def test_a_workflow_tells_where_its_time_goes_and_what_it_will_cost(
    api: Api, blank: str, worker: WorkerDouble
) -> None:
    before = (await api.post("/v1/workflows/blank/estimate", {})).json
    assert (before["runs"], (await api.get("/v1/workflows/blank/profile")).json["nodes"]) == (0, [])
    for _ in range(3):
        job = (await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}})).json
        await worker.finish(await worker.start(job["id"]), nodes={"1": 1.0, "2": 0.25})
    profile = (await api.get("/v1/workflows/blank/profile")).json
    assert (profile["version"], profile["runs"], profile["execute_s"]["expected"]) == (1, 3, 1.5)
    assert [(it["node"], it["class_type"], it["share"], it["p90"]) for it in profile["nodes"]] == [
        ("1", "EmptyImage", 0.8, 1.0), ("2", "SaveImage", 0.2, 0.25),
    ]  # fmt: skip
    told = (await api.post("/v1/workflows/blank/estimate", {"candidates": 4})).json
    assert told["seconds"] == {"expected": 1.5, "low": 1.5, "high": 1.5}
    assert told["dollars"]["expected"] == round(4 * 1.5 * RATE / 3600, 6)
    assert (await api.get("/v1/workflows/nothing/profile")).status == 404
