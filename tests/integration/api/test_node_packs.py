"""Routes of node packs: what is listed is asked of a worker, read only, and nothing else is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from orchestrator.controller.node_packs import NodePacks
from orchestrator.domain.worker import WorkerInfo
from orchestrator.store.redis import RedisStore
from tests.integration.api.client import Api


@pytest.fixture
async def asked(store: RedisStore) -> AsyncIterator[list[web.Request]]:
    """What two workers were asked, of which the second one has the pack."""
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(text=f"{request.match_info['rest']}?{request.query_string}", content_type="text/css")

    with_pack = web.Application()
    with_pack.router.add_route("*", "/pack/{rest:.*}", answer)
    with_pack.router.add_route("*", "/secret", answer)
    async with TestServer(web.Application()) as without, TestServer(with_pack) as having:
        for name, server in (("a", without), ("b", having)):
            info = WorkerInfo(name, str(server.make_url("")), "default", "agent", catalog="c")
            duties = await store.register(info)
            await store.inspected(info, duties.epoch, b"{}", {})
        yield asked


@pytest.mark.parametrize("before", ["", "/api", "/editor", "/editor/api"])
async def test_a_worker_that_has_it_answers(api: Api, asked: list[web.Request], before: str) -> None:
    headers = {"Cookie": "session=1", "Authorization": "Bearer x"}
    async with api.http.get(f"{before}/pack/a%20b/c?q=1", headers=headers) as answer:
        assert (answer.status, await answer.text()) == (200, "a b/c?q=1")
        assert answer.content_type == "text/css"
    assert not {"Cookie", "Authorization"} & set(asked[0].headers)


@pytest.mark.parametrize("path", ["/pack/../secret", "/pack/%2e%2e/secret", "/pack/..%2fsecret", "/secret", "/packs/x"])
async def test_what_is_not_listed(api: Api, asked: list[web.Request], path: str) -> None:
    async with api.http.get(URL(path, encoded=True)) as answer:
        assert answer.status == 404
    async with api.http.post("/pack/a") as answer:
        assert answer.status == 405
    assert asked == []


async def test_a_loopback_address_of_another_agent(store: RedisStore, asked: list[web.Request]) -> None:
    packs = NodePacks(store, ("/pack/",), "default", "another")
    assert await packs.ask(URL("/pack/a")) is None
    assert asked == []
