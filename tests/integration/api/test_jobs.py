"""/v1/jobs on a real store: what is taken, what is shown, and what is handed out."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import orjson
import pytest
from PIL import Image

from orchestrator.domain.worker import WorkerEvent
from orchestrator.store.redis import RedisStore
from tests.fixtures.stored import waiting
from tests.integration.api.client import GRAPH, WORKFLOW, Api
from tests.integration.api.double import OBJECT_INFO, WorkerDouble


def png(width: int = 64, height: int = 32) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "PNG")
    return file.getvalue()


async def submit(api: Api, **body: Any) -> dict[str, Any]:
    reply = await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}, **body})
    assert reply.status == 202, reply.json
    return reply.json


async def test_a_job_of_a_workflow_is_queued_complete(api: Api, blank: str, store: RedisStore) -> None:
    reply = await api.post(
        "/v1/workflows/blank/jobs",
        {
            "params": {"prefix": "cat"},
            "priority": "high",
            "metadata": {"team": "art"},
            "deadline_s": 60,
            "tenant": "acme",
        },
    )
    assert reply.status == 202
    job = reply.json
    assert reply.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["workflow"], job["version"], job["priority"]) == ("queued", "blank", 1, "high")
    assert job["params"] == {"prefix": "cat", "width": 64}
    assert job["metadata"] == {"team": "art"}
    assert job["tenant"] == "acme"
    [entry] = await waiting(store)
    assert (entry.tenant, entry.deadline_s) == ("acme", pytest.approx(60))
    assert job["created_at"].endswith("Z")
    assert job["deadline_at"] > job["created_at"]
    shown = (await api.get(f"/v1/jobs/{job['id']}")).json
    assert shown["queue_position"] == 0
    times = {"created_at", "deadline_at", "queue_position"}
    assert {key: value for key, value in shown.items() if key not in times} == {
        key: value for key, value in job.items() if key not in times
    }
    graph = (await store.order(job["runs"][0]["id"])).graph
    assert graph["2"]["inputs"]["filename_prefix"] == "cat"
    assert graph["1"]["inputs"]["width"] == 64


async def test_a_finished_job_tells_its_whole_story(api: Api, blank: str, worker: WorkerDouble) -> None:
    job_id = (await submit(api))["id"]
    key = await worker.start(job_id, chosen={"load_s": 0.0})
    await worker.progress(key, 0.5)
    running = (await api.get(f"/v1/jobs/{job_id}")).json
    assert (running["status"], running["progress"]["value"], running["progress"]["node"]) == ("running", 0.5, "2")
    assert running["queue_position"] is None
    data = png()
    await worker.finish(key, {"img_00001_.png": data})
    job = (await api.get(f"/v1/jobs/{job_id}")).json
    assert job["status"] == "succeeded"
    assert job["started_at"] and job["completed_at"]
    assert 0 < job["cost"] <= 1.5 * 3.6 / 3600
    assert 0 <= job["timings"]["executed"] <= 1.5  # no longer than the store knows that it has run
    assert job["timings"]["load"] == 0.25
    assert all(job["timings"][step] is not None for step in ("queued", "staged", "executed", "delivered", "total"))
    [run] = job["runs"]
    assert (run["worker"], run["attempt"], run["state"], run["outcome"]) == ("w", 1, "succeeded", None)
    assert run["placement"] == {"chosen": {"load_s": 0.0}}
    [output] = job["outputs"]
    assert (output["name"], output["node"], output["type"]) == ("img_00001_.png", "2", "image")
    assert (output["size_bytes"], output["width"], output["height"]) == (len(data), 64, 32)
    assert output["hash"].startswith("blake3:")
    async with api.http.get(output["url"]) as response:
        assert await response.read() == data
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Type"] == "image/png"
        assert response.headers["Content-Disposition"] == 'inline; filename="img_00001_.png"'


async def test_a_failed_job_says_why(api: Api, blank: str, worker: WorkerDouble) -> None:
    job_id = (await submit(api))["id"]
    await worker.fail(await worker.start(job_id), "the disk is on fire")
    job = (await api.get(f"/v1/jobs/{job_id}")).json
    assert job["status"] == "failed"
    assert (job["error"]["code"], job["error"]["message"]) == ("execution_error", "the disk is on fire")
    assert (job["error"]["node_id"], job["error"]["class_type"]) == ("2", "SaveImage")
    assert job["error"]["traceback"].startswith("Traceback")
    assert job["runs"][0]["outcome"]


async def test_outputs_are_served_by_range_and_only_when_committed(api: Api, blank: str, worker: WorkerDouble) -> None:
    job_id = (await submit(api))["id"]
    url = f"/v1/jobs/{job_id}/outputs/0"
    assert (await api.get(url)).code == "output_not_found"
    data = png()
    await worker.finish(await worker.start(job_id), {"a.png": data})
    async with api.http.get(url, headers={"Range": "bytes=1-3"}) as response:
        assert (response.status, await response.read()) == (206, data[1:4])
        assert response.headers["Content-Range"] == f"bytes 1-3/{len(data)}"
        etag = response.headers["ETag"]
    async with api.http.get(url, headers={"Range": "bytes=-4"}) as response:
        assert (response.status, await response.read()) == (206, data[-4:])
    async with api.http.get(url, headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with api.http.head(url) as response:
        assert (response.status, response.content_length) == (200, len(data))
    out_of_range = await api.get(url, headers={"Range": f"bytes={len(data)}-"})
    assert (out_of_range.status, out_of_range.code) == (416, "range_not_satisfiable")
    for other in ("1", "-1", "x", "9" * 400):
        assert (await api.get(f"/v1/jobs/{job_id}/outputs/{other}")).code == "output_not_found"


async def test_a_storage_that_serves_by_itself_is_redirected_to(
    api: Api, blank: str, worker: WorkerDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def url(key: str, expires_s: float, filename: str, content_type: str) -> str:
        return f"https://bucket.example/{key}?signed&for={filename}&as={content_type}"

    monkeypatch.setattr(api.services.storage, "url", url)
    job_id = (await submit(api))["id"]
    await worker.finish(await worker.start(job_id), {"a.png": png()})
    reply = await api.get(f"/v1/jobs/{job_id}/outputs/0", allow_redirects=False)
    assert (reply.status, reply.headers["Cache-Control"]) == (302, "no-store")
    assert reply.headers["Location"].startswith(f"https://bucket.example/runs/{job_id}/")
    assert reply.headers["Location"].endswith("?signed&for=a.png&as=image/png")


async def test_an_output_whose_file_is_damaged_is_an_error_and_not_half_a_file(
    api: Api, blank: str, worker: WorkerDouble, store: RedisStore
) -> None:
    job_id = (await submit(api))["id"]
    await worker.finish(await worker.start(job_id), {"a.png": png()})
    path = (await store.job(job_id)).outputs[0].path
    await api.services.storage.put(path, b"short", "image/png")
    reply = await api.get(f"/v1/jobs/{job_id}/outputs/0")
    assert (reply.status, reply.code) == (404, "stored_truncated")


async def test_wait_answers_with_the_finished_job(
    api: Api, blank: str, worker: WorkerDouble, store: RedisStore
) -> None:
    waiting = asyncio.create_task(api.post("/v1/workflows/blank/jobs?wait=30", {"params": {"prefix": "x"}}))
    while not (page := (await api.get("/v1/jobs")).json["jobs"]):
        await asyncio.sleep(0.01)
    await worker.finish(await worker.start(page[0]["id"]))
    reply = await waiting
    assert (reply.status, reply.json["status"]) == (200, "succeeded")
    reply = await api.post("/v1/workflows/blank/jobs?wait=0.05", {"params": {"prefix": "x"}})
    assert (reply.status, reply.json["status"]) == (202, "queued")


@pytest.mark.parametrize("query", ["wait=x", "wait=-1", "wait=301", "wait=nan", "wiat=3", "wait=1&wait=2"])
async def test_a_bad_wait_is_refused(api: Api, blank: str, query: str) -> None:
    reply = await api.post(f"/v1/workflows/blank/jobs?{query}", {"params": {"prefix": "x"}})
    assert (reply.status, reply.code) == (400, "invalid_request")


async def test_cancel_of_a_queued_a_running_and_an_ended_job(
    api: Api, blank: str, worker: WorkerDouble, store: RedisStore
) -> None:
    queued = (await submit(api))["id"]
    assert (await api.post(f"/v1/jobs/{queued}/cancel")).json["status"] == "canceled"
    running = (await submit(api))["id"]
    key = await worker.start(running)
    assert (await api.post(f"/v1/jobs/{running}/cancel")).json["status"] == "canceling"
    await store.stopped(key)
    assert (await api.get(f"/v1/jobs/{running}")).json["status"] == "canceled"
    reply = await api.post(f"/v1/jobs/{running}/cancel")
    assert (reply.status, reply.json["status"]) == (200, "canceled")


async def test_one_key_one_job(api: Api, blank: str) -> None:
    body = {"params": {"prefix": "x"}, "metadata": {"a": "1"}}
    headers = {"Idempotency-Key": "order 17"}
    replies = await asyncio.gather(*(api.post("/v1/workflows/blank/jobs", body, headers=headers) for _ in range(20)))
    assert sorted(reply.status for reply in replies) == [200] * 19 + [202]
    assert len({reply.json["id"] for reply in replies}) == 1
    reordered = b'{"metadata":{"a":"1"},   "params":{"prefix":"x"}}'
    assert (await api.post("/v1/workflows/blank/jobs", reordered, headers=headers)).status == 200
    other = await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "y"}}, headers=headers)
    assert (other.status, other.code) == (422, "idempotency_key_reuse")
    raw = await api.post("/v1/jobs", {"workflow": GRAPH}, headers=headers)
    assert raw.code == "idempotency_key_reuse"
    assert len((await api.get("/v1/jobs")).json["jobs"]) == 1


async def test_a_replay_is_answered_even_when_the_body_would_be_refused_by_now(api: Api, blank: str) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}}, headers=headers)
    stricter = {**WORKFLOW["params"], "required": ["prefix", "width"]}
    stricter["properties"] = {**stricter["properties"], "width": {"type": "integer"}}
    assert (await api.post("/v1/workflows", {**WORKFLOW, "params": stricter})).json["version"] == 2
    again = await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}}, headers=headers)
    assert (again.status, again.json["id"]) == (200, first.json["id"])


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9", "tab\tbed"])
async def test_a_bad_key_is_refused(api: Api, blank: str, key: str) -> None:
    reply = await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}}, headers={"Idempotency-Key": key})
    assert (reply.status, reply.code) == (400, "invalid_idempotency_key")


async def test_jobs_are_listed_by_what_they_are(api: Api, blank: str, worker: WorkerDouble) -> None:
    red = [(await submit(api, metadata={"team": "red"}))["id"] for _ in range(5)]
    blue = (await submit(api, metadata={"team": "blue"}))["id"]
    raw = (await api.post("/v1/jobs", {"workflow": GRAPH})).json["id"]
    await worker.finish(await worker.start(red[0]))

    async def ids(query: str) -> list[str]:
        return [job["id"] for job in (await api.get(f"/v1/jobs?{query}")).json["jobs"]]

    assert set(await ids("")) == {*red, blue, raw}
    assert await ids("status=succeeded") == [red[0]]
    assert raw not in await ids("workflow=blank")
    assert await ids("label[team]=blue") == [blue]
    assert await ids("status=queued&label[team]=red&workflow=blank") == red[:0:-1]
    page = (await api.get("/v1/jobs?limit=3")).json
    seen = [job["id"] for job in page["jobs"]]
    while page["next_cursor"]:
        page = (await api.get(f"/v1/jobs?limit=3&cursor={page['next_cursor']}")).json
        seen += [job["id"] for job in page["jobs"]]
    assert len(seen) == 7
    assert set(seen) == {*red, blue, raw}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("status=done", "invalid_request"),
        ("limit=0", "invalid_request"),
        ("limit=x", "invalid_request"),
        ("limit=501", "invalid_request"),
        ("cursor=abc", "invalid_cursor"),
        ("stauts=queued", "invalid_request"),
        ("label=x", "metadata_invalid"),
        ("label[a b]=x", "metadata_invalid"),
    ],
)
async def test_a_bad_filter_is_refused(api: Api, query: str, code: str) -> None:
    reply = await api.get(f"/v1/jobs?{query}")
    assert (reply.status in (400, 422), reply.code) == (True, code)


async def test_raw_graphs_in_both_formats(api: Api, store: RedisStore, worker: WorkerDouble) -> None:
    typed = {
        "nodes": {
            node_id: {
                "class_type": node["class_type"],
                "inputs": [{"name": name, "type": "X", "value": value} for name, value in node["inputs"].items()],
            }
            for node_id, node in GRAPH.items()
        }
    }
    bare = {node_id: {"class_type": node["class_type"], "inputs": node["inputs"]} for node_id, node in GRAPH.items()}
    for document in (GRAPH, typed):
        reply = await api.post("/v1/jobs", {"workflow": document, "pool": "default", "timeout_s": 5, "retries": 0})
        assert (reply.status, reply.json["workflow"], reply.json["version"]) == (202, None, None)
        graph = (await store.order(reply.json["runs"][0]["id"])).graph
        assert {node_id: {**node, "_meta": 0} for node_id, node in graph.items()} == {
            node_id: {**node, "_meta": 0} for node_id, node in bare.items()
        }


async def test_explain_says_why_a_job_waits(api: Api, blank: str, worker: WorkerDouble, store: RedisStore) -> None:
    first, second = (await submit(api))["id"], (await submit(api))["id"]
    explained = (await api.get(f"/v1/jobs/{second}/explain")).json
    assert explained["summary"] == "waits: 1 run of pool default before it, 1 of 1 workers are ready"
    await store.move_worker("w", WorkerEvent.DRAIN)
    explained = (await api.get(f"/v1/jobs/{first}/explain")).json
    assert explained["summary"].startswith("waits: none of the workers of pool default is ready (1 draining)")
    await store.move_worker("w", WorkerEvent.RESUME)
    await worker.start(first, chosen={"load_s": 1.5}, others={})
    explained = (await api.get(f"/v1/jobs/{first}/explain")).json
    assert explained["summary"] == "executes on w"
    assert explained["runs"][0]["placement"]["chosen"] == {"load_s": 1.5}
    elsewhere = (await api.post("/v1/jobs", {"workflow": GRAPH, "pool": "moon"})).json["id"]
    assert "no worker of pool moon is known" in (await api.get(f"/v1/jobs/{elsewhere}/explain")).json["summary"]


async def test_explain_says_which_workers_cannot_take_a_job_that_waits(
    api: Api, blank: str, worker: WorkerDouble, store: RedisStore
) -> None:
    other = WorkerDouble(store, name="bare")
    await other.join(object_info={name: OBJECT_INFO[name] for name in ("LoadImage", "SaveImage")})
    job_id = (await submit(api))["id"]
    explained = (await api.get(f"/v1/jobs/{job_id}/explain")).json
    assert {it["id"]: it["cannot"] for it in explained["workers"]} == {
        "w": None,
        "bare": "has no node class EmptyImage",
    }
    assert explained["summary"].endswith("2 of 2 workers are ready, 1 can run it")
    await store.move_worker("w", WorkerEvent.DRAIN)
    explained = (await api.get(f"/v1/jobs/{job_id}/explain")).json
    assert explained["summary"] == (
        "waits: none of the workers of pool default that are ready can run it: bare has no node class EmptyImage"
    )
    assert {it["id"]: it["cannot"] for it in explained["workers"]}["w"] == "is draining (drained by an operator)"


async def test_what_is_not_there(api: Api, blank: str) -> None:
    job_id = (await submit(api))["id"]
    for path in (f"/v1/jobs/{job_id}:events", "/v1/jobs/%00", "/v1/jobs/%ff", f"/v1/jobs/{'x' * 200}", "/v1/jobs/*"):
        assert (await api.get(path)).code == "job_not_found", path
    for path in ("/v1/jobs/x", "/v1/jobs/x/events", "/v1/jobs/x/outputs/0", "/v1/jobs/x/explain"):
        reply = await api.get(path)
        assert (reply.status, reply.code) == (404, "job_not_found"), path
    assert (await api.post("/v1/jobs/x/cancel")).code == "job_not_found"
    reply = await api.post("/v1/workflows/nope/jobs", {"params": {}})
    assert (reply.status, reply.code) == (404, "workflow_not_found")
    reply = await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}, "version": 7})
    assert (reply.status, reply.code) == (404, "workflow_not_found")
    assert orjson.dumps(reply.json)
