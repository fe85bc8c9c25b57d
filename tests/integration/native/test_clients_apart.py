"""Clients at once: each has a ComfyUI to itself, as far as it can see."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import picture, sampled
from tests.fixtures.whole import StartWhole, Whole
from tests.integration.native.clients import NativeClient, about, ends, native_client

JOBS = 12


async def work(client: NativeClient) -> list[str]:
    """Submits, and hears every job to its end."""
    prompts = [await client.submit(sampled(steps=2, seed=seed)) for seed in range(JOBS)]
    await client.hear(lambda message: ends(message, prompts[-1]))
    return prompts


async def rage(client: NativeClient, done: asyncio.Event) -> None:
    """Submits and takes back, interrupts, clears and looks, as fast as it can."""
    seed = 1000
    while not done.is_set():
        seed += 1
        prompt_id = await client.submit(sampled(steps=2, seed=seed))
        queue = await client.get(f"/queue?clientId={client.client_id}")
        for item in (*queue["queue_running"], *queue["queue_pending"]):
            assert item[3]["client_id"] == client.client_id
        await client.post("/interrupt", {"client_id": client.client_id})
        await client.post("/queue", {"delete": [prompt_id], "client_id": client.client_id})
        await client.post("/queue", {"clear": True, "client_id": client.client_id})
        await client.post("/history", {"clear": True, "client_id": client.client_id})


async def test_nobody_sees_cancels_or_interrupts_the_work_of_another(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({name: (await sim_comfyui(step_seconds=0.005)).url for name in ("a", "b")})
    done = asyncio.Event()
    async with (
        native_client(fleet.client.url, "calm") as calm,
        native_client(fleet.client.url, "wild") as wild,
    ):
        await calm.connect()
        await wild.connect()
        async with asyncio.TaskGroup() as group:
            group.create_task(rage(wild, done))
            prompts = await work(calm)
            done.set()
        history = await calm.get("/history?clientId=calm")
        assert list(history) == prompts
        assert all(entry["status"]["completed"] for entry in history.values())
        assert {about(message) for message in calm.heard if about(message)} == set(prompts)
        assert not {about(message) for message in wild.heard} & set(prompts)
        await stealing(fleet, calm, wild, prompts)


async def stealing(fleet: Whole, calm: NativeClient, wild: NativeClient, prompts: list[str]) -> None:
    """One that knows the id of another's job, and says who it is, gets nothing."""
    busy = await calm.submit(sampled(steps=400))
    await fleet.running(busy)
    named = "clientId=wild"
    assert await wild.get(f"/history/{prompts[0]}?{named}") == {}
    assert await wild.post(f"/api/jobs/{busy}/cancel?{named}") == {"cancelled": False}
    assert await wild.post(f"/api/jobs/cancel?{named}", {"job_ids": [busy]}) == {"cancelled": False}
    await wild.post("/interrupt", {"prompt_id": busy, "client_id": "wild"})
    await wild.post("/history", {"delete": prompts, "client_id": "wild"})
    assert list(await calm.get("/history?clientId=calm")) == prompts
    assert (await calm.get(f"/api/jobs/{busy}?clientId=calm"))["status"] == "in_progress"
    everybody = await wild.get("/queue?clientId=*")
    assert busy in [item[1] for item in everybody["queue_running"]]
    assert await calm.post(f"/api/jobs/{busy}/cancel?clientId=calm") == {"cancelled": True}
    assert (await fleet.ended(busy))["status"] == "canceled"
    assert (await calm.get(f"/api/jobs/{busy}?clientId=calm"))["status"] == "cancelled"


async def test_who_does_not_say_who_it_is(whole: StartWhole, sim_comfyui: StartSim) -> None:
    """It sees what came from its address, and is taken for a client only where there is no other."""
    fleet = await whole({"w": (await sim_comfyui(step_seconds=0.05)).url})
    async with (
        native_client(fleet.client.url, "one") as one,
        native_client(fleet.client.url, "two") as two,
        aiohttp.ClientSession(fleet.client.url) as nobody,
    ):
        first = await one.submit(sampled(steps=100, seed=1))
        await fleet.running(first)
        second = await two.submit(picture())
        async with nobody.get("/queue") as answer:
            queue = await answer.json()
        assert [item[1] for item in (*queue["queue_running"], *queue["queue_pending"])] == [first, second]
        assert [item[1] for item in (await two.get("/queue"))["queue_pending"]] == [second]  # known by its connection
        async with nobody.post("/interrupt") as answer:
            assert answer.status == 200
        assert (await fleet.job(first))["status"] == "running"  # it could be either's
        await two.post("/queue", {"clear": True})
        async with nobody.post("/interrupt") as answer:
            assert answer.status == 200
        assert (await fleet.ended(first))["status"] == "canceled"
