"""What it says is not what is: websockets that are silent, outputs that are not there, prompts that are confused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from orchestrator.simulator.comfyui.faults import Fault, Kind
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import eventually, picture, sampled
from tests.fixtures.failing import always, states, succeeds
from tests.fixtures.whole import StartWhole

pytestmark = pytest.mark.usefixtures("impatient")


# --- the websocket is silent, breaks, or is replaced by another with its id ---


@pytest.mark.parametrize(
    "fault",
    [Fault(Kind.MUTE), *(Fault(kind, class_type="KSampler") for kind in (Kind.DROP_SOCKETS, Kind.REPLACE_SOCKETS))],
    ids=lambda fault: fault.kind,
)
@pytest.mark.parametrize("version", ["0.33.0", "0.3.64"])
async def test_a_websocket_that_does_not_tell(
    whole: StartWhole, sim_comfyui: StartSim, fault: Fault, version: str
) -> None:
    sim = await sim_comfyui(version=version, step_seconds=0.02)
    fleet = await whole({"w": sim.url})
    sim.fail(fault)
    await succeeds(fleet, sampled(steps=20), [("w", "succeeded")])
    await succeeds(fleet, sampled(steps=21), [("w", "succeeded")])
    assert len(sim.spans) == 2
    assert (await fleet.worker("w"))["state"] == "ready"


# --- outputs that are not there ---


@pytest.mark.parametrize("kind", [Kind.BLANK, Kind.LOSE_FILES])
async def test_outputs_that_a_cache_hides_are_made_again(whole: StartWhole, sim_comfyui: StartSim, kind: Kind) -> None:
    sim = await sim_comfyui()
    fleet = await whole({"w": sim.url})
    sim.fail(Fault(kind))
    await succeeds(fleet, picture(), [("w", "succeeded")])
    assert len(sim.spans) == 2


async def test_a_prompt_that_history_forgot(whole: StartWhole, sim_comfyui: StartSim) -> None:
    forgetful, other = await sim_comfyui(), await sim_comfyui()
    fleet = await whole({"forgetful": forgetful.url, "other": other.url})
    await fleet.prefer("forgetful", sampled(steps=1))
    forgetful.fail(Fault(Kind.FORGET_HISTORY))
    job = await succeeds(fleet, sampled(steps=2), [("forgetful", "lost"), ("other", "succeeded")])
    assert "does not know the run any more" in job["runs"][0]["outcome"]
    assert (await fleet.worker("forgetful"))["state"] == "ready"


async def test_history_is_left_as_short_as_it_was(whole: StartWhole, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    fleet = await whole({"w": sim.url})
    for color in range(3):
        await succeeds(fleet, picture(color), [("w", "succeeded")])

    async def empty() -> bool:
        async with aiohttp.ClientSession() as http, http.get(f"{sim.url}/history") as answer:
            return await answer.json() == {}

    await eventually(empty, "what was collected to be deleted")


# --- one prompt is not another ---


async def test_an_answer_that_was_lost_is_no_reason_to_run_it_twice(whole: StartWhole, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.02)
    fleet = await whole({"w": sim.url})
    sim.fail(Fault(Kind.LOSE_ANSWER))
    await succeeds(fleet, sampled(steps=10), [("w", "succeeded")])
    assert len(sim.spans) == 1


@pytest.mark.parametrize("version", ["0.33.0", "0.3.64"])
async def test_a_cancel_hits_nothing_else(whole: StartWhole, sim_comfyui: StartSim, version: str) -> None:
    """Cancels come at all phases of a run, the one between its end and the start of the next above all."""
    sim = await sim_comfyui(version=version, step_seconds=0.02)
    fleet = await whole({"w": sim.url})
    for turn in range(8):
        victim = await fleet.submit(sampled(steps=3, seed=turn))
        behind = await fleet.submit(sampled(steps=4, seed=turn))
        await asyncio.sleep(0.02 * turn)  # not to wait for anything: to come at another time
        await fleet.client.post(f"/v1/jobs/{victim}/cancel")
        assert (await fleet.ended(victim))["status"] in ("canceled", "succeeded")
        job = await fleet.ended(behind)
        assert (job["status"], states(job)) == ("succeeded", [("w", "succeeded")])


async def test_two_that_share_their_folders(whole: StartWhole, sim_comfyui: StartSim, tmp_path: Path) -> None:
    """They count their files by what is in the folder: each would overwrite the other's."""
    shared = tmp_path / "shared"
    sims = [await sim_comfyui(directory=shared), await sim_comfyui(directory=shared)]
    fleet = await whole({f"w{number}": sim.url for number, sim in enumerate(sims)})
    colors = [color * 0x111111 for color in range(12)]
    jobs = [await fleet.submit(picture(color)) for color in colors]
    for color, job_id in zip(colors, jobs, strict=True):
        job = await fleet.ended(job_id)
        await fleet.client.download(job["outputs"][0]["url"], tmp_path / "got.png")
        with Image.open(tmp_path / "got.png") as image:
            assert image.getpixel((0, 0)) == (color >> 16, color >> 8 & 0xFF, color & 0xFF)
    assert all(sim.spans for sim in sims)


# --- it is slow, or full ---


async def test_object_info_is_asked_for_once_a_boot(whole: StartWhole, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(faults=(always(Kind.SLOW_OBJECT_INFO, seconds=0.5),))
    fleet = await whole({"w": sim.url})
    for color in range(3):
        await succeeds(fleet, picture(color), [("w", "succeeded")])
    (slow,) = sim.faults.shown()
    assert slow["occasions"] == 1


async def test_a_disk_that_is_full(whole: StartWhole, sim_comfyui: StartSim) -> None:
    full, other = await sim_comfyui(), await sim_comfyui()
    fleet = await whole({"full": full.url, "other": other.url})
    await fleet.prefer("full", sampled(steps=1))
    full.fail(always(Kind.DISK_FULL))
    job = await succeeds(fleet, sampled(steps=2), [("full", "lost"), ("other", "succeeded")])
    assert "the disk of its worker is full: make room there" in job["runs"][0]["outcome"]
