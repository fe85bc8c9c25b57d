"""A controller that is killed, and one that takes its place: a client comes again, and has missed nothing but time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from orchestrator import build
from orchestrator.settings import Settings
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import sampled
from tests.integration.native.clients import native_client, story

StartController = Callable[[], Awaitable["Controller"]]


class Controller:
    def __init__(self, url: str, task: asyncio.Task[None]) -> None:
        self.url = url
        self._task = task

    async def kill(self) -> None:
        """It says nothing to anybody."""
        self._task.cancel()
        await asyncio.wait((self._task,))


@pytest.fixture
async def controllers(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sim_comfyui: StartSim
) -> AsyncIterator[StartController]:
    """`await controllers()`: one more controller of the same fleet, which has one worker."""
    made: list[Controller] = []

    def settings(**more: object) -> Settings:
        return Settings(
            **{
                "listen": "127.0.0.1:0", "data_dir": tmp_path, "workflows": None,
                "redis": {"url": redis_url, "namespace": namespace}, **more,
            }
        )  # fmt: skip

    async def start() -> Controller:
        monkeypatch.setattr(build, "REGISTRY", CollectorRegistry())
        base: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(build.controller(settings(), asyncio.Event(), base.set_result))
        await asyncio.wait((task, base), return_when=asyncio.FIRST_COMPLETED)
        made.append(Controller(base.result(), task))
        return made[-1]

    sim = await sim_comfyui(step_seconds=0.03)
    agent = asyncio.create_task(build.agent(settings(workers=[{"id": "w", "url": sim.url}]), asyncio.Event()))
    yield start
    for controller in made:
        await controller.kill()
    agent.cancel()
    await asyncio.wait((agent,))


async def test_a_controller_that_is_killed_in_mid_run_is_only_time(controllers: StartController) -> None:
    first = await controllers()
    async with native_client(first.url, "c") as client:
        await client.connect()
        prompt_id = await client.submit(sampled(steps=60))
        await client.hear(lambda message: message["type"] == "progress")
        killed = asyncio.create_task(first.kill())
        await client.hear(lambda message: False)
        heard = client.heard
        await killed
    second = await controllers()
    async with native_client(second.url, "c") as again:
        await again.connect()
        entry = await again.finish(prompt_id)
        assert entry["status"]["completed"] is True
        assert again.heard[0]["data"]["status"]["exec_info"]["queue_remaining"] == 1
        happened = story(heard) + story(again.heard)
    begun = [("executing", node) for node in ("4", "5", "6", "3", "8", "9")]
    assert happened == [
        ("execution_start", None), ("execution_cached", None), *begun, ("executed", "9"),
        ("execution_success", None), ("executing", None),
    ]  # fmt: skip


async def test_a_job_is_heard_of_at_a_controller_that_did_not_take_it(controllers: StartController) -> None:
    taking, telling = await controllers(), await controllers()
    async with native_client(taking.url, "c") as sender, native_client(telling.url, "c") as hearer:
        await hearer.connect()
        await hearer.hear(lambda message: message["type"] == "status")
        prompt_id = await sender.submit(sampled(steps=2))
        entry = await hearer.finish(prompt_id)
        assert entry["status"]["completed"] is True
        assert story(hearer.heard)[0] == ("execution_start", None)
