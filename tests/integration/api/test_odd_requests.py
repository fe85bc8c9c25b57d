"""What no client should send, and some do: each is refused in the words of its door, and harms nobody else."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from aiohttp import FormData
from PIL import Image
from yarl import URL

from orchestrator.api.comfy_v2 import contract
from orchestrator.errors import Busy
from tests.integration.api.client import GRAPH, Api
from tests.integration.api.double import WorkerDouble


async def posted(api: Api, **body: Any) -> int:
    async with api.http.post("/prompt", json={"prompt": GRAPH, **body}) as answer:
        return answer.status


@pytest.mark.parametrize("info", [[], "x", 5, {"workflow": "x"}, {"workflow": [1]}, {"workflow": {"id": {}}}])
async def test_whatever_a_client_says_of_its_editor(api: Api, worker: WorkerDouble, info: object) -> None:
    assert await posted(api, extra_data={"extra_pnginfo": info}) == 200
    async with api.http.get("/api/jobs") as answer:
        assert (answer.status, len((await answer.json())["jobs"])) == (200, 1)


@pytest.mark.parametrize("number", ["nan", "inf", "1e308", "-1e17", [], {}, None, "x"])
async def test_numbers_that_are_no_place_in_a_queue(api: Api, worker: WorkerDouble, number: object) -> None:
    assert await posted(api, number=number) == 400
    assert await posted(api, number="-12") == 200
    async with api.http.get("/queue") as answer:
        assert [each[0] for each in (await answer.json())["queue_pending"]] == [-12]


async def test_pages_beyond_all_numbers(api: Api, worker: WorkerDouble) -> None:
    async with api.http.get("/api/jobs", params={"limit": "9" * 40, "offset": "9" * 40}) as answer:
        assert (answer.status, (await answer.json())["jobs"]) == (200, [])


@pytest.mark.parametrize("name", ["x" * 300, "%00", "folder", "file%2Fbelow"])
async def test_names_that_no_file_can_have(api: Api, name: str) -> None:
    for path in ("folder%2Fc", "file"):
        async with api.http.post(URL(f"/api/userdata/{path}", encoded=True), data=b"x") as answer:
            assert answer.status == 200
    for place in (name, f"file/move/{name}"):
        async with api.http.post(URL(f"/api/userdata/{place}", encoded=True), data=b"x") as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (400, "invalid_request")
    async with api.http.get(URL(f"/api/userdata/{name}", encoded=True)) as answer:
        assert answer.status in (400, 404)


async def test_settings_that_are_none(api: Api) -> None:
    async with api.http.post("/api/userdata/comfy.settings.json", data=b"[1]") as answer:
        assert answer.status == 200
    async with api.http.post("/api/settings", json={"a": 1}) as answer:
        assert answer.status == 200
    async with api.http.get("/api/settings/a") as answer:
        assert await answer.json() == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"preview": "jpeg;²"}, 200),
        ({"preview": "jpeg;" + "9" * 5000}, 200),
        ({"preview": "webp"}, 400),  # which has no pictures as wide
    ],
)
async def test_views_that_cannot_be_made(api: Api, query: dict[str, str], status: int) -> None:
    content = io.BytesIO()
    Image.new("RGB", (20_000, 1)).save(content, "PNG")
    form = FormData()
    form.add_field("image", content.getvalue(), filename="wide.png", content_type="image/png")
    async with api.http.post("/upload/image", data=form) as answer:
        assert answer.status == 200
    async with api.http.get("/view", params={"filename": "wide.png", "type": "input", **query}) as answer:
        assert answer.status == status
    async with api.http.head("/view", params={"filename": "wide.png", "type": "input"}) as answer:
        assert (answer.status, answer.content_length) == (200, len(content.getvalue()))


async def test_a_socket_that_is_sent_nonsense(api: Api, worker: WorkerDouble) -> None:
    async with api.http.ws_connect("/ws?clientId=c") as socket:
        assert (await socket.receive_json())["type"] == "status"
        await socket.send_str("[" * 100_000)
        await socket.send_bytes(b"\x00")
        assert await posted(api, client_id="c") == 200
        assert (await socket.receive_json())["data"]["status"]["exec_info"] == {"queue_remaining": 1}


async def test_a_host_that_is_no_name(api: Api, worker: WorkerDouble) -> None:
    body = json.dumps({"workflow": GRAPH}).encode()
    head = b"POST /api/v2/jobs HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection(api.http.host, api.http.port)
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code":"invalid_request"' in answer


class TestAStoreThatIsAway:
    """The SDKs take any refusal of a look at a job for the end of it."""

    @pytest.fixture
    def failures(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> list[Busy]:
        """What the store says, one after the other, before it answers."""
        failures: list[Busy] = []
        store = api.services.store
        job, ping = store.job, store.ping

        async def asked(job_id: str) -> Any:
            if failures:
                raise failures.pop()
            return await job(job_id)

        async def pinged() -> None:
            if failures:
                raise failures.pop()
            await ping()

        monkeypatch.setattr(store, "job", asked)
        monkeypatch.setattr(store, "ping", pinged)
        monkeypatch.setattr(contract, "STORE_RETRY_S", 0.0)
        return failures

    async def test_is_waited_for(self, api: Api, worker: WorkerDouble, failures: list[Busy]) -> None:
        made = (await api.post("/api/v2/jobs", {"workflow": GRAPH})).json
        failures += [Busy("store_unavailable", "Redis does not answer", 1.0)] * 3
        assert (await api.get(f"/api/v2/jobs/{made['id']}")).json["status"] == "queued"
        assert failures == []

    async def test_but_not_for_ever(
        self, api: Api, worker: WorkerDouble, failures: list[Busy], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contract, "STORE_WAIT_S", -1.0)
        failures.append(Busy("store_unavailable", "Redis does not answer", 1.0))
        assert (await api.get("/api/v2/jobs/none")).code == "store_unavailable"

    async def test_and_is_no_health(self, api: Api, failures: list[Busy]) -> None:
        failures.append(Busy("store_unavailable", "Redis does not answer", 1.0))
        assert (await api.get("/api/v2/health")).status == 503
