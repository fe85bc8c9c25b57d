"""Queues of ComfyUI's own API at their edges: longer than what is listed, asked twice, read slowly."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from orchestrator.api.native import prompts
from orchestrator.api.native.sockets import Session
from orchestrator.api.services import Services
from orchestrator.store.redis import RedisStore
from tests.fixtures.driving import eventually
from tests.integration.api.client import GRAPH, Api
from tests.integration.api.double import WorkerDouble

LISTED = 3


@pytest.fixture
def short_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "LISTED_MAX", LISTED)
    monkeypatch.setattr(prompts, "_PAGE", 2)


async def posted(api: Api, client: str | None = "c", **body: Any) -> str:
    """In a millisecond of its own: what arrives within one has no order."""
    named = {} if client is None else {"client_id": client}
    job_id = (await api.post("/prompt", {"prompt": GRAPH, **named, **body})).json["prompt_id"]
    arrived = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == arrived:
        await asyncio.sleep(0)
    return job_id


async def statuses(api: Api, ids: list[str]) -> list[str]:
    return [(await api.get(f"/v1/jobs/{job_id}")).json["status"] for job_id in ids]


async def test_what_executes_is_listed_and_interrupted_however_many_wait(
    api: Api, worker: WorkerDouble, short_lists: None
) -> None:
    busy = await posted(api)
    await worker.start(busy)
    waiting = [await posted(api) for _ in range(2 * LISTED)]
    queue = (await api.get("/queue?clientId=c")).json
    assert [item[1] for item in queue["queue_running"]] == [busy]
    assert [item[1] for item in queue["queue_pending"]] == waiting[-LISTED:]
    assert (await api.get("/prompt?clientId=c")).json["exec_info"]["queue_remaining"] == 2 * LISTED + 1
    await api.post("/interrupt?clientId=c")
    assert await statuses(api, [busy, *waiting]) == ["canceling"] + ["queued"] * 2 * LISTED


async def test_a_queue_and_a_history_are_cleared_to_their_ends(
    api: Api, worker: WorkerDouble, short_lists: None
) -> None:
    done = [await posted(api) for _ in range(2 * LISTED)]
    for job_id in done:
        await worker.finish(await worker.start(job_id))
    waiting = [await posted(api) for _ in range(2 * LISTED)]
    others = [await posted(api, "d")]
    await api.post("/queue?clientId=c", {"clear": True})
    assert await statuses(api, [*waiting, *others]) == ["canceled"] * 2 * LISTED + ["queued"]
    assert list((await api.get("/history?clientId=c")).json) == done[-LISTED:]
    await api.post("/history?clientId=c", {"clear": True})
    assert (await api.get("/history?clientId=c")).json == {}
    assert (await api.get(f"/history/{done[0]}?clientId=c")).json == {}


async def test_who_is_not_known_clears_only_what_is_nobodys_to_the_end(
    api: Api, worker: WorkerDouble, short_lists: None
) -> None:
    """Nor what is left when nobody's jobs are gone, though that is of one client then."""
    theirs = [await posted(api, "c") for _ in range(LISTED)]
    nobodys = [await posted(api, None) for _ in range(LISTED)]
    async with aiohttp.ClientSession() as nobody:  # over a connection of its own
        await nobody.post(api.http.make_url("/queue"), json={"clear": True})
    assert await statuses(api, [*theirs, *nobodys]) == ["queued"] * LISTED + ["canceled"] * LISTED


async def test_an_interrupt_that_is_repeated_takes_no_second_job(
    api: Api, worker: WorkerDouble, store: RedisStore
) -> None:
    other = WorkerDouble(store, name="v")
    await other.join()
    first, second = await posted(api), await posted(api)
    await worker.start(first)
    await other.start(second)
    for _ in range(2):
        await api.post("/interrupt?clientId=c")
    assert await statuses(api, [first, second]) == ["canceling", "running"]


async def test_what_is_taken_back_from_its_worker_before_it_begins_does_not_execute(
    api: Api, worker: WorkerDouble
) -> None:
    busy, ahead = await posted(api), await posted(api, front=True)
    await worker.start(busy)
    await worker.take(ahead)
    await api.post("/queue?clientId=c", {"clear": True})
    queue = (await api.get("/queue?clientId=c")).json
    assert ([item[1] for item in queue["queue_running"]], queue["queue_pending"]) == ([busy], [])
    await api.post("/interrupt?clientId=c")
    assert await statuses(api, [busy, ahead]) == ["canceling", "canceling"]


class SlowReader(web.WebSocketResponse):
    """A socket that takes the first status after the end of a prompt, and then nothing until its reader `goes_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.goes_on = asyncio.Event()

    async def send_str(self, data: str, compress: int | None = None) -> None:
        self.heard.append(json.loads(data))
        if self.kinds()[-2:] == ["execution_success", "status"]:
            await self.goes_on.wait()

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.heard]

    def ends(self) -> list[str]:
        return [message["data"]["prompt_id"] for message in self.heard if message["type"] == "executing"]


@pytest.fixture
async def reader(services: Services) -> AsyncIterator[SlowReader]:
    """Of the client c."""
    socket = SlowReader()
    telling = asyncio.create_task(Session(services.store, services.events, "c", socket).tell())
    yield socket
    telling.cancel()
    await asyncio.wait((telling,))


async def test_what_goes_before_one_that_waits_is_told_before_it(
    api: Api, worker: WorkerDouble, reader: SlowReader
) -> None:
    reader.goes_on.set()
    behind = await posted(api)
    await eventually(lambda: len(reader.heard) == 2, "word of what waits")
    front = await posted(api, front=True)
    await worker.finish(await worker.start(front))
    await eventually(reader.ends, "the end of the one at the front")
    await worker.finish(await worker.start(behind))
    await eventually(lambda: len(reader.ends()) == 2, "the end of the other one")
    assert reader.ends() == [front, behind]
    assert reader.kinds().count("execution_success") == 2


async def test_what_comes_while_an_end_is_told_has_nothing_told_twice(
    api: Api, worker: WorkerDouble, reader: SlowReader
) -> None:
    first = await posted(api, prompt_id=str(uuid.uuid4()))
    await worker.finish(await worker.start(first))
    await eventually(lambda: reader.kinds()[-2:] == ["execution_success", "status"], "the end of the first")
    second = await posted(api)
    await eventually(lambda: reader.kinds()[-2:] == ["status", "status"], "word of the second")
    assert reader.heard[-1]["data"]["status"]["exec_info"]["queue_remaining"] == 1
    reader.goes_on.set()
    await worker.finish(await worker.start(second))
    await eventually(lambda: second in reader.ends(), "the end of the second")
    assert reader.ends() == [first, second]
    assert reader.kinds().count("execution_success") == 2
