"""/api/v2 over plain HTTP: what its contract asks for beyond what the SDKs show (those drive it in ../api_v2)."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import aiohttp
import orjson
import pytest
from blake3 import blake3
from PIL import Image

from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.store.redis import RedisStore
from tests.integration.api.client import GRAPH, Api, Reply
from tests.integration.api.double import WorkerDouble

JOBS = "/api/v2/jobs"
ASSETS = "/api/v2/assets"
NULLABLE = {"started_at", "completed_at", "queue_position", "progress", "error"}


def png(color: str = "red") -> bytes:
    data = BytesIO()
    Image.new("RGB", (8, 4), color).save(data, "PNG")
    return data.getvalue()


async def submit(api: Api, key: str | None = None, **body: Any) -> Reply:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.post(JOBS, {"workflow": GRAPH, **body}, headers=headers)


async def upload(api: Api, data: bytes, **fields: str) -> Reply:
    form = aiohttp.FormData(quote_fields=False)
    for name, value in fields.items():
        form.add_field(name, value)
    form.add_field("file", BytesIO(data), filename="x.png", content_type="image/png")
    async with api.http.post(ASSETS, data=form) as response:
        return Reply(response.status, await response.json(), response.headers)


async def test_a_job_shows_every_field_that_may_be_null(api: Api, worker: WorkerDouble) -> None:
    reply = await submit(api, metadata={"team": "red"})
    assert reply.status == 201
    job = reply.json
    assert {field for field, value in job.items() if value is None} == NULLABLE
    assert (job["status"], job["outputs"], job["metadata"]) == ("queued", [], {"team": "red"})
    assert job["urls"]["self"] == f"{JOBS}/{job['id']}"
    assert job["metrics"] == {"queue_ms": None, "execution_ms": None, "total_ms": None}
    polled = (await api.get(job["urls"]["self"])).json
    assert polled == {**job, "queue_position": 0}
    shown = (await api.get(f"{JOBS}/{job['id']}/workflow")).json
    assert (shown["format"], shown["workflow"]["2"]["class_type"]) == ("api", "SaveImage")


async def test_every_answer_has_a_request_id(api: Api) -> None:
    for path in (JOBS, f"{JOBS}/x", "/api/v2/nothing", "/api/v2/health", f"{ASSETS}/x"):
        reply = await api.get(path)
        assert reply.headers["X-Comfy-Request-Id"] == reply.headers["X-Request-Id"]
    assert "X-Comfy-Request-Id" not in (await api.get("/healthz")).headers


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", JOBS, b"{", 400, "invalid_request"),
        ("POST", JOBS, {}, 400, "invalid_request"),
        ("POST", JOBS, {"workflow": {}}, 422, "invalid_workflow"),
        ("POST", JOBS, {"workflow": {"nodes": [], "links": [], "last_node_id": 1}}, 422, "workflow_format_ui"),
        ("POST", JOBS, {"workflow": GRAPH, "webhook_url": "http://x"}, 422, "invalid_workflow"),
        ("POST", JOBS, {"workflow": GRAPH, "inputs": {}}, 422, "invalid_workflow"),
        ("POST", JOBS, {"workflow": GRAPH, "extra_data": {"client_id": "x"}}, 400, "invalid_request"),
        ("POST", JOBS, {"workflow": GRAPH, "extra_data": {"api_key_comfy_org": 7}}, 400, "invalid_request"),
        ("POST", JOBS, {"workflow": GRAPH, "metadata": {"a b": "x"}}, 422, "metadata_invalid"),
        ("POST", JOBS, {"workflow": GRAPH, "metadata": {str(n): "" for n in range(17)}}, 422, "metadata_invalid"),
        ("GET", f"{JOBS}?limit=0", None, 400, "invalid_request"),
        ("GET", f"{JOBS}?cursor=x", None, 400, "invalid_cursor"),
        ("GET", f"{JOBS}?" + "&".join(f"metadata[k{n}]=v" for n in range(4)), None, 422, "invalid_metadata_filter"),
        ("GET", f"{JOBS}/nobody", None, 404, "job_not_found"),
        ("POST", f"{JOBS}/nobody/cancel", {}, 404, "job_not_found"),
        ("GET", f"{JOBS}/nobody/events", None, 404, "job_not_found"),
        ("GET", f"{JOBS}/nobody/workflow", None, 404, "job_not_found"),
        ("GET", f"{ASSETS}/ast_0", None, 404, "asset_not_found"),
        ("GET", f"{ASSETS}/nobody.0/content", None, 404, "asset_not_found"),
        ("POST", f"{ASSETS}/from-hash", {"hash": "blake3:" + "0" * 64}, 404, "blob_not_found"),
        ("POST", f"{ASSETS}/from-hash", {"hash": "md5:0"}, 400, "invalid_request"),
        ("GET", "/api/v2/nothing", None, 404, "not_found"),
    ],
)  # fmt: skip
async def test_refusals_are_in_the_words_of_the_contract(
    api: Api, worker: WorkerDouble, method: str, path: str, body: Any, status: int, code: str
) -> None:
    reply = await (api.get(path) if method == "GET" else api.post(path, body))
    assert (reply.status, reply.code) == (status, code), reply.json


@pytest.mark.parametrize("reference", [{"id": "ast_none"}, {"id": "nobody.0"}, {"hash": "blake3:0"}, {}])
async def test_an_asset_that_cannot_be_found_is_missing(api: Api, worker: WorkerDouble, reference: Any) -> None:
    loading = {
        **GRAPH,
        "1": {"class_type": "LoadImage", "inputs": {"image": {"__type": "core/ASSET", "info": reference}}},
    }
    reply = await api.post(JOBS, {"workflow": loading})
    assert (reply.status, reply.code, reply.pointer) == (422, "missing_asset", "/workflow/1/inputs/image")


async def test_what_is_no_hash_is_told_what_one_is(api: Api) -> None:
    reply = await api.post(f"{ASSETS}/from-hash", {"hash": "blake3:" + "A" * 64})
    assert (reply.status, reply.code, reply.pointer) == (400, "invalid_request", "/hash")
    assert "blake3: and 64 digits" in reply.json["error"]["message"]


async def test_a_key_may_be_used_once(api: Api, worker: WorkerDouble) -> None:
    replies = await asyncio.gather(*(submit(api, key="k") for _ in range(10)))
    assert sorted(reply.status for reply in replies) == [201] + [422] * 9
    refused = next(reply for reply in replies if reply.status == 422)
    made = next(reply for reply in replies if reply.status == 201)
    assert (refused.code, refused.json["error"]["details"]["job"]) == ("idempotency_key_reuse", made.json["id"])
    assert (await submit(api, key="k2")).status == 201
    assert (await api.post("/v1/jobs", {"workflow": GRAPH}, headers={"Idempotency-Key": "k"})).status == 202
    for bad in ("", "x" * 256):
        assert (await submit(api, key=bad)).code == "invalid_request"


class TestAFullQueue:
    @pytest.fixture
    async def store(self, redis_url: str, namespace: str, leases: LeaseSettings) -> Any:
        store = await RedisStore.connect(redis_url, namespace, leases, RetentionSettings(), LimitSettings(max_queued=1))
        yield store
        await store.close()

    async def test_is_told_with_when_to_come_again_and_keeps_no_key(self, api: Api, worker: WorkerDouble) -> None:
        first = (await submit(api)).json["id"]
        full = await submit(api, key="k")
        assert (full.status, full.code) == (429, "queue_full")
        assert int(full.headers["Retry-After"]) >= 1
        assert (await api.post(f"{JOBS}/{first}/cancel")).json["status"] == "canceled"
        assert (await submit(api, key="k")).status == 201


async def test_jobs_are_listed_by_their_labels_page_by_page(api: Api, worker: WorkerDouble) -> None:
    made = [(await submit(api, metadata={"n": str(n), "even": str(n % 2 == 0)})).json["id"] for n in range(5)]
    first = (await api.get(f"{JOBS}?metadata[even]=True&limit=2")).json
    assert [job["id"] for job in first["jobs"]] == [made[4], made[2]]
    assert first["jobs"][0].keys() == {"id", "status", "create_time", "update_time", "deployment_id", "metadata"}
    rest = (await api.get(f"{JOBS}?metadata[even]=True&limit=2&cursor={first['next_cursor']}")).json
    assert [job["id"] for job in rest["jobs"]] == [made[0]]
    assert rest["next_cursor"] is None


async def test_an_asset_from_upload_to_deletion(api: Api) -> None:
    data = png()
    content_hash = f"blake3:{blake3(data).hexdigest()}"
    by_hash = f"{ASSETS}/by-hash/{content_hash}"
    async with api.http.head(by_hash) as response:
        assert response.status == 404

    wrong = await upload(api, data, expected_hash="blake3:" + "0" * 64)
    assert (wrong.status, wrong.code) == (409, "hash_mismatch")
    async with api.http.head(by_hash) as response:
        assert response.status == 404

    made = await upload(
        api, data, content_type="image/png", file_path="in/photo.png", expected_hash=content_hash, tags="a"
    )
    assert made.status == 201
    asset = made.json
    assert (asset["hash"], asset["size_bytes"], asset["content_type"]) == (content_hash, len(data), "image/png")
    assert (asset["file_path"], asset["created_new"]) == ("in/photo.png", True)
    again = await upload(api, data, file_path="other.png")
    assert (again.status, again.json["id"], again.json["created_new"]) == (200, asset["id"], False)
    async with api.http.head(by_hash) as response:
        assert response.status == 200
    minted = await api.post(f"{ASSETS}/from-hash", {"hash": content_hash, "file_path": "third.png"})
    assert (minted.status, minted.json["id"], minted.json["file_path"]) == (200, asset["id"], "third.png")

    async with api.http.get(f"{ASSETS}/{asset['id']}/content", headers={"Range": "bytes=1-3"}) as response:
        assert (response.status, await response.read()) == (206, b"PNG")
    async with api.http.delete(f"{ASSETS}/{asset['id']}") as response:
        assert response.status == 204
    assert (await api.get(f"{ASSETS}/{asset['id']}")).code == "asset_not_found"
    assert (await upload(api, data)).status == 201


@pytest.mark.parametrize(
    "parts",
    [[("file_path", None)], [("colour", None), ("file", "x")], [("file", "x"), ("file_path", None)]],
    ids=["no file", "an unknown field", "a field behind the file"],
)
async def test_a_form_that_is_not_as_it_should_be_keeps_nothing(api: Api, parts: Any) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, filename in parts:
        form.add_field(name, BytesIO(png()) if filename else "value", filename=filename)
    async with api.http.post(ASSETS, data=form) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_request")
    async with api.http.head(f"{ASSETS}/by-hash/blake3:{blake3(png()).hexdigest()}") as response:
        assert response.status == 404


async def test_outputs_are_assets_of_their_job(api: Api, worker: WorkerDouble) -> None:
    job_id = (await submit(api)).json["id"]
    await worker.finish(await worker.start(job_id), {"a.png": png()})
    job = (await api.get(f"{JOBS}/{job_id}")).json
    assert job["status"] == "succeeded"
    assert all(isinstance(value, int) for value in job["metrics"].values())
    [output] = job["outputs"]
    assert output["size_bytes"] == len(png())
    assert output["hash"] == f"blake3:{blake3(png()).hexdigest()}"
    assert output["url"].startswith("http://")
    async with api.http.get(f"{ASSETS}/{output['id']}/content") as response:
        assert await response.read() == png()
    asset = (await api.get(f"{ASSETS}/{output['id']}")).json
    assert (asset["job_id"], asset["hash"], asset["file_path"]) == (job_id, output["hash"], "a.png")
    async with api.http.delete(f"{ASSETS}/{output['id']}") as response:
        assert response.status == 403
    assert (await api.get(f"{ASSETS}/{job_id}.1")).code == "asset_not_found"


async def test_what_a_retry_may_make_anew_is_not_cached(api: Api, worker: WorkerDouble) -> None:
    job_id = (await submit(api)).json["id"]
    key = await worker.start(job_id)
    early = await worker.show(key, "a.png", png())
    [output] = (await api.get(f"{JOBS}/{job_id}")).json["outputs"]

    async def caching() -> str:
        async with api.http.get(f"{ASSETS}/{output['id']}/content") as response:
            assert await response.read() == png()
            return response.headers["Cache-Control"]

    assert "no-cache" in await caching()
    await worker.finish(key, {"a.png": png()}, shown=(early,))
    assert "immutable" in await caching()


async def stream(api: Api, job_id: str) -> list[tuple[str, Any]]:
    """The events of a job, until it has ended."""
    async with api.http.get(f"{JOBS}/{job_id}/events") as response:
        assert response.content_type == "text/event-stream"
        frames = (await response.text()).strip().split("\n\n")
    return [
        (kind.removeprefix("event: "), orjson.loads(data.removeprefix("data: ")))
        for kind, data in (frame.split("\n") for frame in frames)
    ]


async def test_a_stream_shows_how_the_job_stands_and_ends_with_its_status(api: Api, worker: WorkerDouble) -> None:
    job_id = (await submit(api)).json["id"]
    early = asyncio.create_task(stream(api, job_id))
    key = await worker.start(job_id)
    await worker.progress(key, 0.25)
    late = asyncio.create_task(stream(api, job_id))
    await worker.progress(key, 0.5)
    await worker.finish(key, {"a.png": png()})
    after = await stream(api, job_id)
    for seen in (await early, await late, after):
        kinds = [kind for kind, _ in seen]
        statuses = [data["status"] for kind, data in seen if kind == "status"]
        assert statuses == sorted(set(statuses), key=statuses.index)
        assert (statuses[-1], kinds[-1], kinds.count("output")) == ("succeeded", "status", 1)
        assert "progress" in kinds
    assert [kind for kind, _ in after] == ["progress", "output", "status"]
