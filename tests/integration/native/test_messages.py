"""A client hears from the fleet what it hears from one ComfyUI, whatever happens to the fleet meanwhile."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.simulator.comfyui.faults import Fault, Kind
from tests.contract.driver import Driver
from tests.contract.scenarios import CHECKPOINT, SCENARIOS
from tests.contract.test_simulator import CHECKPOINT_SIZE, differences
from tests.fixtures.comfyui import StartSim, StartSimProcess
from tests.fixtures.driving import node, picture, sampled
from tests.fixtures.whole import StartWhole
from tests.integration.native.clients import NativeClient, about, ends, native_client, shown, story, without_places

TRANSCRIPTS = Path(__file__).parents[2] / "contract/transcripts"


class FreshDriver(Driver):
    """For a ComfyUI that has nothing to forget."""

    async def __aenter__(self) -> Driver:
        return self


def heard(transcript: list[Any]) -> list[Any]:
    """What the sockets heard, but for what is the fleet's own: where files lie, and which features there are."""
    said = [without_places(entry) for entry in json.loads(json.dumps(transcript)) if "heard" in entry]
    for entry in said:
        for message in entry["heard"]:
            if message["type"] == "feature_flags":
                message["data"] = sorted({"supports_preview_metadata", "max_upload_size"} & message["data"].keys())
    return said


@pytest.mark.parametrize("name", ["trivial", "sampling", "outputs_of_each_kind", "model_nodes", "one_bad_output"])
async def test_the_same_messages_as_from_a_real_comfyui(whole: StartWhole, sim_comfyui: StartSim, name: str) -> None:
    """In the same order and with the same fields as they were recorded from one."""
    models = {"checkpoints": {CHECKPOINT: CHECKPOINT_SIZE}}
    sim = await sim_comfyui(version="0.33.0", device="cpu", models=models, step_seconds=0.02)
    fleet = await whole({"w": sim.url})
    async with aiohttp.ClientSession(fleet.client.url) as session, FreshDriver(session, "0.33.0") as driver:
        await SCENARIOS[name](driver)
    real = json.loads((TRANSCRIPTS / f"0.33.0/{name}.json").read_text())
    found = list(differences(heard(real), heard(driver.transcript)))
    assert found == [], "\n".join(found)


async def test_a_socket_that_comes_late_hears_all_of_it_once(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w": (await sim_comfyui()).url})
    async with native_client(fleet.client.url, "late") as client:
        prompt_id = await client.submit(picture())
        await fleet.ended(prompt_id)
        await client.connect()
        entry = await client.finish(prompt_id)
        assert entry["status"]["completed"] is True
        assert story(client.heard) == [
            ("execution_start", None), ("execution_cached", None), ("executing", "1"), ("executing", "2"),
            ("executed", "2"), ("execution_success", None), ("executing", None),
        ]  # fmt: skip
    async with native_client(fleet.client.url, "late") as again:
        await again.connect()
        prompt_id = await again.submit(picture(1))
        await again.finish(prompt_id)
        assert {about(message) for message in again.heard} == {None, prompt_id}


async def test_jobs_are_told_one_after_the_other_however_many_execute(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({name: (await sim_comfyui(step_seconds=0.02)).url for name in ("a", "b")})
    async with native_client(fleet.client.url, "many") as client:
        await client.connect()
        prompts = [await client.submit(sampled(steps=5, seed=seed)) for seed in range(4)]
        await client.hear(lambda message: ends(message, prompts[-1]))
    told = [about(message) for message in client.heard if about(message)]
    assert [prompt for prompt, before in zip(told, [None, *told], strict=False) if prompt != before] == prompts


async def test_what_goes_to_the_front_is_told_first(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w": (await sim_comfyui(step_seconds=0.05)).url})
    async with native_client(fleet.client.url, "front") as client:
        first, second = [await client.submit(sampled(steps=8, seed=seed)) for seed in range(2)]
        await fleet.running(first)
        urgent = await client.submit(picture(), front=True)
        queue = await client.get("/queue")
        assert [item[1] for item in queue["queue_pending"]] == [urgent, second]
        await client.connect()
        await client.hear(lambda message: ends(message, second))
    starts = [about(message) for message in client.heard if message["type"] == "execution_start"]
    assert starts.index(urgent) < starts.index(second)


async def test_previews_come_with_metadata_to_whom_they_mean_something(
    whole: StartWhole, sim_comfyui: StartSim
) -> None:
    fleet = await whole({"w": (await sim_comfyui(step_seconds=0.01)).url})
    async with (
        native_client(fleet.client.url, "new") as new,
        native_client(fleet.client.url, "old") as old,
    ):
        await new.connect({"supports_preview_metadata": True})
        await old.connect()
        for client, seed in ((new, 1), (old, 2)):
            prompt_id = await client.submit(sampled(steps=3, seed=seed), extra_data={"preview_method": "latent2rgb"})
            await client.finish(prompt_id)
        for client, binary in ((new, "(binary 4)"), (old, "(binary 1)")):
            kinds = [message["type"] for message in client.heard]
            assert kinds.count(binary) == 3
            assert sum(kind.startswith("(binary") for kind in kinds) == 3
        assert all(message["metadata"]["prompt_id"] for message in new.heard if message["type"] == "(binary 4)")


def progress(client: NativeClient) -> list[float]:
    return [message["data"]["value"] for message in client.heard if message["type"] == "progress"]


async def test_a_worker_that_is_killed_in_mid_run_is_only_time(
    whole: StartWhole, sim_process: StartSimProcess, sim_comfyui: StartSim
) -> None:
    doomed = await sim_process(faults=[Fault(Kind.CRASH, class_type="VAEDecode")])
    calm = await sim_comfyui()
    fleet = await whole({"doomed": doomed.url, "calm": calm.url})
    await fleet.client.post("/v1/workers/calm/drain")
    async with native_client(fleet.client.url, "c") as client:
        await client.connect()
        prompt_id = await client.submit(sampled(steps=3))
        await fleet.worker_is("doomed", "down")
        await fleet.client.post("/v1/workers/calm/resume")
        entry = await client.finish(prompt_id)
    job = await fleet.job(prompt_id)
    assert [run["state"] for run in job["runs"]] == ["lost", "succeeded"]
    assert entry["status"]["status_str"] == "success"
    happened = story(client.heard)
    assert happened[0] == ("execution_start", None)
    assert happened[-2:] == [("execution_success", None), ("executing", None)]
    assert len(set(happened)) == len(happened), "something was told twice"
    assert progress(client) == sorted(set(progress(client)))


async def test_a_run_that_fails_and_one_that_is_interrupted(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w": (await sim_comfyui(step_seconds=0.05)).url})
    async with native_client(fleet.client.url, "c") as client:
        await client.connect()
        endless = await client.submit(sampled(steps=500))
        await client.hear(lambda message: message["type"] == "progress")
        await client.post("/interrupt")
        entry = await client.finish(endless)
        assert story(client.heard)[-2:] == [("execution_interrupted", None), ("executing", None)]
        assert entry["status"]["status_str"] == "error"
        await client.upload(b"no picture", "broken.png", "application/octet-stream")
        failing = await client.submit({"1": node("LoadImage", image="broken.png"), "2": shown("1")})
        entry = await client.finish(failing)
        [error] = [message["data"] for message in client.heard if message["type"] == "execution_error"]
        assert (error["prompt_id"], error["node_type"]) == (failing, "LoadImage")
        assert entry["status"]["messages"][-1] == ["execution_error", error]


async def test_what_is_deleted_while_it_waits_was_never_there(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w": (await sim_comfyui(step_seconds=0.05)).url})
    async with native_client(fleet.client.url, "c") as client:
        await client.connect()
        busy = await client.submit(sampled(steps=30))
        await fleet.running(busy)
        waiting = [await client.submit(picture(color)) for color in range(3)]
        await client.post("/queue", {"delete": [waiting[0]]})
        await client.post("/queue", {"clear": True})
        await client.post("/interrupt", {"prompt_id": busy})
        await client.finish(busy)
        history = await client.get("/history")
        assert list(history) == [busy]
        assert {about(message) for message in client.heard if about(message)} == {busy}
        await asyncio.gather(*(fleet.ended(prompt_id) for prompt_id in waiting))
