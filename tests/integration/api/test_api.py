"""What every answer has in common, the event stream, assets, workers, and what operators look at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import orjson
import pytest
from blake3 import blake3
from openapi_spec_validator import validate as validate_openapi
from PIL import Image
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from orchestrator.api import sse
from orchestrator.api.app import routes
from orchestrator.api.errors import STATUS
from orchestrator.api.uploads import Uploads
from orchestrator.domain.worker import WorkerKind
from orchestrator.errors import Busy
from orchestrator.settings import RetentionSettings
from orchestrator.store.port import MailKind
from orchestrator.store.redis import RedisStore
from tests.fixtures.driving import eventually
from tests.integration.api.client import GRAPH, Api
from tests.integration.api.double import WorkerDouble


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 32)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, "teal").save(file, kind)
    return file.getvalue()


# --- every answer ---


async def test_a_request_id_is_kept_or_made(api: Api) -> None:
    assert (await api.get("/healthz", headers={"X-Request-Id": "trace-1:a.b"})).headers["X-Request-Id"] == "trace-1:a.b"
    made = (await api.get("/healthz", headers={"X-Request-Id": "a bad id" + "x" * 200})).headers["X-Request-Id"]
    assert len(made) == 16
    missing = await api.get("/nope", headers={"X-Request-Id": "t"})
    assert (missing.status, missing.headers["X-Request-Id"]) == (404, "t")


async def test_a_bug_of_ours_is_told_without_its_secrets(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(job_id: str) -> None:
        raise ZeroDivisionError("the password is hunter2")

    monkeypatch.setattr(api.services.store, "job", broken)
    reply = await api.get("/v1/jobs/x", headers={"X-Request-Id": "r1"})
    assert (reply.status, reply.code) == (500, "internal_error")
    assert "r1" in reply.json["error"]["message"]
    assert "hunter2" not in orjson.dumps(reply.json).decode()
    assert "hunter2" in caplog.text


async def test_a_store_that_is_away_is_503_with_retry_after(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> None:
        raise Busy("store_unavailable", "Redis does not answer", 1.2)

    monkeypatch.setattr(api.services.store, "ping", away)
    monkeypatch.setattr(api.services.store, "counts", away)
    reply = await api.get("/readyz")
    assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "store_unavailable", "2")
    assert (await api.get("/healthz")).json["status"] == "ok"
    assert (await metrics(api))["comfyfleet_store_up"] == {(): 0.0}


async def test_a_full_queue_is_429_with_retry_after(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_: Any) -> None:
        raise Busy("queue_full", "the queue holds 5 runs", 5.0)

    monkeypatch.setattr(api.services.store, "submit", full)
    reply = await api.post("/v1/jobs", {"workflow": GRAPH})
    assert (reply.status, reply.code, reply.headers["Retry-After"]) == (429, "queue_full", "5")


# --- events ---


async def frames(api: Api, path: str, **headers: str) -> AsyncIterator[dict[str, str]]:
    """The fields of each frame; a comment is {"": its text}."""
    async with api.http.get(path, headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        fields: dict[str, str] = {}
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if line == b"\n":
                yield fields
                fields = {}
            else:
                fields[name] = value


async def test_the_stream_tells_a_job_from_start_to_end(api: Api, blank: str, worker: WorkerDouble) -> None:
    job_id = (await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}})).json["id"]
    stream = frames(api, f"/v1/jobs/{job_id}/events")
    first = await anext(stream)
    assert (first["event"], orjson.loads(first["data"])) == ("status", {"status": "queued"})
    key = await worker.start(job_id)
    await worker.progress(key, 0.25)
    await worker.finish(key, {"a.png": picture(), "b.png": picture()})
    rest = [frame async for frame in stream]
    assert [frame["event"] for frame in rest] == ["status", "progress", "output", "output", "status"]
    assert orjson.loads(rest[1]["data"])["value"] == 0.25
    job = (await api.get(f"/v1/jobs/{job_id}")).json
    assert [orjson.loads(frame["data"]) for frame in rest[2:4]] == job["outputs"]
    assert orjson.loads(rest[-1]["data"]) == {"status": "succeeded"}

    resumed = [frame async for frame in frames(api, f"/v1/jobs/{job_id}/events", **{"Last-Event-ID": rest[1]["id"]})]
    assert resumed == rest[2:]
    ended = await api.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": rest[-1]["id"]})
    assert ended.status == 204
    for odd in ("yesterday", f"{2**64 - 1}-{2**64 - 1}", f"{10**20}-0"):
        bad = await api.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": odd})
        assert (bad.status, bad.code) == (400, "invalid_event_id")
    later = await api.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": f"{10**19 - 1}-{10**19 - 1}"})
    assert later.status == 204


async def test_a_silent_stream_is_kept_alive_and_notices_who_left(
    api: Api, blank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "KEEP_ALIVE_S", 0.02)
    job_id = (await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}})).json["id"]
    async with api.http.get(f"/v1/jobs/{job_id}/events") as response:
        async for line in response.content:
            if line == b": keep-alive\n":
                break
        assert api.services.events._mailboxes
        response.close()
    async with asyncio.timeout(5):
        while api.services.events._mailboxes:
            await asyncio.sleep(0.01)


# --- assets ---


async def test_an_asset_goes_in_and_comes_out(api: Api) -> None:
    data = picture()
    asset = (await api.upload(data, "a cat.png")).json
    assert asset["hash"] == f"blake3:{blake3(data).hexdigest()}"
    assert (asset["content_type"], asset["width"], asset["height"]) == ("image/png", 64, 32)
    assert (asset["name"], asset["size_bytes"]) == ("a cat.png", len(data))
    assert (await api.upload(data, "again.png")).json["id"] == asset["id"]
    assert (await api.get(f"/v1/assets/{asset['id']}")).json["hash"] == asset["hash"]
    async with api.http.get(asset["url"]) as response:
        assert await response.read() == data
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("", "/content"):
        assert (await api.get(f"/v1/assets/ast_nobody{path}")).code == "asset_not_found"


@pytest.mark.parametrize(
    "filename", ["../../etc/passwd", "..\\..\\boot.ini", "a\u202eb.txt", "x" * 4000, "\U0001f600.txt"]
)
async def test_a_name_is_only_a_name(api: Api, filename: str) -> None:
    asset = (await api.upload(b"hello", filename)).json
    assert not {"/", "\\", "\u202e"} & set(asset["name"])
    assert 0 < len(asset["name"]) <= 255
    async with api.http.get(asset["url"]) as response:
        assert await response.read() == b"hello"
        assert response.headers["Content-Disposition"].startswith("attachment; ")


async def test_what_a_browser_would_run_is_only_ever_downloaded(api: Api) -> None:
    asset = (await api.upload(b"<html><script>alert(1)</script>", "page.html")).json
    async with api.http.get(asset["url"]) as response:
        assert response.headers["Content-Disposition"].startswith("attachment")
        assert "sandbox" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("data", "filename", "declared"),
    [
        (picture(size=(640, 480))[:900], "cut.png", None),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 100, "fake.png", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x.svg", "image/svg+xml"),
        (b"<html></html>", "x.png", "image/png"),
        (b"", "x.png", "image/png"),
    ],
)
async def test_what_is_said_to_be_a_picture_must_be_one(
    api: Api, data: bytes, filename: str, declared: str | None
) -> None:
    reply = await api.upload(data, filename, declared)
    assert (reply.status, reply.code) == (422, "invalid_image")


async def test_uploads_that_are_too_large_or_no_upload(api: Api) -> None:
    reply = await api.upload(b"x" * ((1 << 20) + 1), "big.bin")
    assert (reply.status, reply.code) == (413, "body_too_large")
    reply = await api.upload(b"x" * (2 << 20), "bigger.bin")
    assert (reply.status, reply.code) == (413, "body_too_large")
    reply = await api.post("/v1/assets", {"file": "x"})
    assert (reply.status, reply.code) == (415, "unsupported_media_type")
    form = {"Content-Type": "multipart/form-data; boundary=B"}
    for body in (
        b"",
        b"--X\r\n",
        b"--B\r\n",
        b"--B--\r\n",
        b'--B\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\nno end',
        b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\nno end\r\n--',
        b'--B\r\nContent-Disposition: form-data; name="file"\r\nContent-Length: 99\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="\x05"\r\n\r\nx\r\n--B--',
        b"--B\r\nX: " + b"y" * 20_000 + b"\r\n\r\nx\r\n--B--",
    ):
        reply = await api.post("/v1/assets", body, headers=form)
        assert (reply.status, reply.code) == (400, "invalid_multipart"), body
    reply = await api.post("/v1/assets", b"x", headers={"Content-Type": "multipart/form-data"})
    assert (reply.status, reply.code) == (400, "invalid_multipart")


async def test_an_uploaded_picture_reaches_the_graph(api: Api, store: RedisStore) -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    params = {"type": "object", "properties": {"image": {"type": "string"}}, "required": ["image"]}
    bind = {"image": {"input": "1.image", "kind": "image"}}
    await api.post("/v1/workflows", {"name": "invert", "graph": graph, "params": params, "bind": bind})
    asset = (await api.upload(picture(), "cat.png")).json["id"]
    job = await api.post("/v1/workflows/invert/jobs", {"params": {"image": asset}})
    assert job.status == 202
    patched = (await store.order(job.json["runs"][0]["id"])).graph
    assert patched["1"]["inputs"]["image"] == {"__type": "core/ASSET", "info": {"id": asset}}


# --- workers and residency ---


async def test_workers_are_shown_drained_and_resumed(api: Api, blank: str, worker: WorkerDouble) -> None:
    job_id = (await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}})).json["id"]
    key = await worker.start(job_id)
    [shown] = (await api.get("/v1/workers")).json["workers"]
    assert (shown["id"], shown["state"], shown["pool"], shown["gpu"]) == ("w", "busy", "default", "a100")
    assert shown["runs"] == [key.run_id]
    drained = (await api.post("/v1/workers/w/drain")).json
    assert (drained["state"], drained["note"]) == ("draining", "drained by an operator")
    assert (await api.post("/v1/workers/w/resume")).json["state"] == "busy"
    await worker.finish(key)
    told = (await api.get("/v1/workers/w")).json
    assert told["state"] == "ready"
    assert [change["state"] for change in told["changes"]] == ["ready", "draining", "ready", "starting"]
    [held] = (await api.get("/v1/residency")).json["workers"]
    assert (held["worker"], held["source"]) == ("w", "inferred")
    named = {"folder": "checkpoints", "name": "sd15.safetensors", "size_bytes": None, "sha256": None}
    assert held["vram"] == [{**named, "held_bytes": None}]
    assert (held["ram"], held["disk"], held["state"], held["why"]) == ([], [], "ready", None)
    [model] = (await api.get("/v1/residency")).json["models"]
    assert model == {**named, "vram": ["w"], "ram": [], "disk": [], "remote": []}
    for verb in ("drain", "resume", "recycle", "free"):
        for nobody in ("nobody", "w:runs", "*"):
            assert (await api.post(f"/v1/workers/{nobody}/{verb}")).code == "worker_not_found"


async def test_only_a_supervised_worker_is_recycled(api: Api, worker: WorkerDouble, store: RedisStore) -> None:
    refused = await api.post("/v1/workers/w/recycle")
    assert (refused.status, refused.code) == (409, "worker_attached")
    info = replace((await store.worker("w")).info, kind=WorkerKind.SUPERVISED)
    epoch = (await store.register(info)).epoch
    assert (await api.post("/v1/workers/w/recycle")).code == "worker_state"  # it is starting
    await store.inspected(info, epoch, b"{}", {})
    assert (await api.post("/v1/workers/w/recycle")).json["state"] == "recycling"


async def test_free_leaves_mail_for_the_agent(api: Api, worker: WorkerDouble, store: RedisStore) -> None:
    mail = store.mail("agent")
    waiting = asyncio.ensure_future(anext(mail))
    while not waiting.done():  # the mailbox is read from when its reader is there
        assert (await api.post("/v1/workers/w/free")).status == 202
        await asyncio.wait([waiting], timeout=0.05)
    assert (waiting.result().kind, waiting.result().worker) == (MailKind.FREE, "w")
    await mail.aclose()  # pyright: ignore[reportAttributeAccessIssue]


# --- operators ---


async def metrics(api: Api) -> dict[str, dict[tuple[str, ...], float]]:
    async with api.http.get("/metrics") as response:
        assert response.status == 200
        text = await response.text()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


async def test_metrics_tell_the_fleet_as_it_stands(api: Api, blank: str, worker: WorkerDouble) -> None:
    for priority in ("high", "normal", "normal"):
        await api.post("/v1/workflows/blank/jobs", {"params": {"prefix": "x"}, "priority": priority})
    found = await metrics(api)
    assert found["comfyfleet_store_up"] == {(): 1.0}
    assert found["comfyfleet_jobs"][("queued",)] == 3
    assert found["comfyfleet_queued_runs"] == {("default", "high"): 1, ("default", "normal"): 2, ("default", "low"): 0}
    assert found["comfyfleet_oldest_queued_seconds"]["default", "low"] == 0
    assert 0 <= found["comfyfleet_oldest_queued_seconds"]["default", "normal"] < 60
    assert found["comfyfleet_workers"] == {("default", "ready"): 1}
    assert found["comfyfleet_worker_ready"] == {("default", "w"): 1}
    assert found["comfyfleet_worker_state"] == {("default", "ready", "w"): 1}
    assert "python_info" in found
    assert list(found["comfyfleet_build_info"].values()) == [1]


async def test_a_redis_that_hangs_is_told_before_a_scrape_is_over(
    api: Api, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.api.operations.STORE_S", 0.1)
    async with Redis.from_url(redis_url) as redis:
        await redis.client_pause(3000)
    found = await metrics(api)
    assert found["comfyfleet_store_up"] == {(): 0.0}
    assert "python_info" in found
    await eventually(lambda: _store_up(api), "the store to be told again")


async def _store_up(api: Api) -> bool:
    return (await metrics(api))["comfyfleet_store_up"] == {(): 1.0}


async def test_metrics_bound_the_pools_that_callers_make_up(
    api: Api, worker: WorkerDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.api.metrics.MAX_POOLS", 3)
    for n in range(8):
        assert (await api.post("/v1/jobs", {"workflow": GRAPH, "pool": f"pool{n}"})).status == 202
    queued = (await metrics(api))["comfyfleet_queued_runs"]
    assert len(queued) == 4, "of those that are told, also the empty ones"
    assert queued["(others)", "normal"] == 5


async def test_readiness_tells_the_workers(api: Api, worker: WorkerDouble) -> None:
    assert (await api.get("/readyz")).json == {"status": "ready", "workers": 1, "workers_ready": 1}


async def test_the_openapi_document_is_valid_and_complete(api: Api) -> None:
    document = (await api.get("/openapi.json")).json
    validate_openapi(document)
    assert document["openapi"] == "3.1.0"
    served = {
        (route.method, route.resource.canonical)
        for route in api.http.app.router.routes()  # pyright: ignore[reportOptionalMemberAccess]
        if route.resource
        and not route.resource.canonical.startswith(("/docs", "/openapi", "/editor"))
        and not route.handler.__module__.startswith("orchestrator.api.native")  # ComfyUI's, and told by ComfyUI
    }
    served -= {("HEAD", path) for method, path in served if method == "GET"}
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert served == described


async def test_every_documented_refusal_has_its_status(api: Api) -> None:
    uploads = Uploads(api.services.store, api.services.storage, api.limits.max_upload_bytes)
    table = routes(api.services, uploads, RetentionSettings(), CollectorRegistry())
    assert {code for route in table for code in route.refusals} <= STATUS.keys()


async def test_the_docs_page_needs_nobody_else(api: Api) -> None:
    async with api.http.get("/docs") as response:
        page = await response.text()
        assert response.status == 200
    assert "http://" not in page
    assert "https://" not in page
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js", "favicon-32x32.png"):
        async with api.http.get(f"/docs/{name}") as response:
            assert response.status == 200
            assert await response.read()


async def test_the_index_leads_on(api: Api) -> None:
    index = (await api.get("/")).json
    for path in (index["docs"], index["openapi"]):
        async with api.http.get(path) as response:
            assert response.status == 200


async def test_a_client_that_breaks_off_leaves_the_server_well(api: Api, blank: str) -> None:
    host, port = api.http.server.host, api.http.server.port
    for sent in (
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
        b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX: caf\xe9\x01\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(sent)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert (await api.get("/healthz")).status == 200
