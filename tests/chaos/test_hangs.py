"""It is of no use until it is restarted: its device is broken, it hangs, it has grown, it was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.simulator.comfyui.faults import Fault, Kind
from orchestrator.worker import monitor
from tests.fixtures.comfyui import StartSim, StartSimProcess
from tests.fixtures.driving import Wire, eventually, picture, sampled
from tests.fixtures.failing import SUPERVISION, Installed, fail, states, succeeds
from tests.fixtures.whole import StartWhole

pytestmark = pytest.mark.usefixtures("impatient")


# --- it crashes in mid-prompt: its queue and its history are gone with it ---


async def test_a_crash_in_mid_prompt(whole: StartWhole, sim_process: StartSimProcess, sim_comfyui: StartSim) -> None:
    doomed = await sim_process(faults=[Fault(Kind.CRASH, class_type="KSampler", skip=1)])
    other = await sim_comfyui()
    fleet = await whole({"doomed": doomed.url, "other": other.url})
    await fleet.prefer("doomed", sampled(steps=1))
    job = await succeeds(fleet, sampled(steps=2), [("doomed", "lost"), ("other", "succeeded")])
    assert "is ComfyUI running there?" in job["runs"][0]["outcome"]
    down = await fleet.worker_is("doomed", "down")
    assert "cannot be reached" in down["note"]


# --- its device is broken until it is restarted ---


async def test_a_broken_device_of_ours(whole: StartWhole, installed: Installed) -> None:
    """It is killed and started again; one that breaks again and again is left alone until an operator says so."""
    fleet = await whole([installed("frail"), installed("other")], **SUPERVISION)
    await fleet.prefer("frail-cpu0", sampled(steps=1))
    for turn in range(2):
        await fail(fleet, "frail-cpu0", kind="device_error", class_type="KSampler")
        job = await succeeds(fleet, sampled(steps=2, seed=turn), [("frail-cpu0", "lost"), ("other-cpu0", "succeeded")])
        assert "the device of the worker failed in KSampler" in job["runs"][0]["outcome"]
        if turn == 0:
            await fleet.worker_is("frail-cpu0", "ready")
            await fleet.client.post("/v1/workers/other-cpu0/drain")
            await succeeds(fleet, sampled(steps=3), [("frail-cpu0", "succeeded")])
            await fleet.client.post("/v1/workers/other-cpu0/free")
            await fleet.client.post("/v1/workers/other-cpu0/resume")
    worker = await fleet.worker_is("frail-cpu0", "quarantined")
    assert "2 failures within" in worker["note"]
    assert "the device of the worker failed" in worker["note"]


async def test_a_broken_device_that_is_not_ours_to_restart(whole: StartWhole, sim_comfyui: StartSim) -> None:
    frail, other = await sim_comfyui(), await sim_comfyui()
    fleet = await whole({"frail": frail.url, "other": other.url})
    await fleet.prefer("frail", sampled(steps=1))
    frail.fail(Fault(Kind.DEVICE_ERROR, class_type="KSampler"))
    await succeeds(fleet, sampled(steps=2), [("frail", "lost"), ("other", "succeeded")])
    await fleet.worker_told("frail", "it does not execute a small graph: restart its ComfyUI")
    for seed in range(3):
        await succeeds(fleet, sampled(steps=3, seed=seed), [("other", "succeeded")])
    port = int(frail.url.rpartition(":")[2])
    await frail.stop()
    await sim_comfyui(port=port)
    await fleet.worker_is("frail", "ready")


# --- it hangs, and interrupts are seen between two steps only ---


WATCHDOG = {"watchdog": {"step_s": 0.5, "node_s": 1.5}}


@pytest.mark.parametrize("kind", [Kind.HANG, Kind.ZOMBIE])
async def test_a_hang_is_caught(whole: StartWhole, installed: Installed, kind: Kind) -> None:
    """A node that never ends, or a ComfyUI that answers and whose executing thread is dead."""
    fleet = await whole([installed("hangs"), installed("other")], **SUPERVISION, **WATCHDOG)
    await fleet.prefer("hangs-cpu0", sampled(steps=1))
    await fail(fleet, "hangs-cpu0", kind=kind)
    job = await succeeds(fleet, sampled(steps=2), [("hangs-cpu0", "lost"), ("other-cpu0", "succeeded")])
    assert "its ComfyUI hangs: run" in job["runs"][0]["outcome"]
    await fleet.worker_is("hangs-cpu0", "ready")
    await fleet.client.post("/v1/workers/other-cpu0/drain")
    await succeeds(fleet, sampled(steps=3), [("hangs-cpu0", "succeeded")])


@pytest.mark.parametrize("kind", [Kind.HANG, Kind.ZOMBIE])
async def test_a_hang_that_is_not_ours_to_end(whole: StartWhole, sim_comfyui: StartSim, kind: Kind) -> None:
    hangs, other = await sim_comfyui(), await sim_comfyui()
    fleet = await whole({"hangs": hangs.url, "other": other.url}, **WATCHDOG)
    await fleet.prefer("hangs", sampled(steps=1))
    hangs.fail(Fault(kind))
    await succeeds(fleet, sampled(steps=2), [("hangs", "lost"), ("other", "succeeded")])
    await fleet.worker_told("hangs", "its ComfyUI hangs: run")
    await succeeds(fleet, sampled(steps=3), [("other", "succeeded")])
    assert (await fleet.worker("hangs"))["state"] in ("down", "starting"), "it is given nothing while it hangs"


@pytest.mark.parametrize(
    "fault",
    [Fault(Kind.SLOW_LOAD, seconds=0.8), Fault(Kind.STALL, class_type="VAEDecode", seconds=0.8)],
    ids=lambda fault: fault.kind,
)
async def test_what_takes_long_is_no_hang(whole: StartWhole, sim_comfyui: StartSim, fault: Fault) -> None:
    """Loading a model and nodes without steps say nothing for long: longer than a step may take."""
    sim, other = await sim_comfyui(), await sim_comfyui()
    fleet = await whole({"w": sim.url, "other": other.url}, **WATCHDOG)
    await fleet.client.post("/v1/workers/other/drain")
    sim.fail(fault)
    job_id = await fleet.submit(sampled(steps=3))
    await fleet.running(job_id)
    await fleet.client.post("/v1/workers/other/resume")
    job = await fleet.ended(job_id)
    assert (job["status"], states(job)) == ("succeeded", [("w", "succeeded")])
    assert [change["state"] for change in (await fleet.worker("w"))["changes"]] == ["ready", "starting"]


async def test_a_websocket_that_is_swallowed_is_no_hang(
    whole: StartWhole, sim_comfyui: StartSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "ECHO_S", 0.3)
    sim = await sim_comfyui(step_seconds=0.05)
    async with Wire(sim.url) as wire:
        fleet = await whole({"w": wire.url}, **WATCHDOG)
        job_id = await fleet.submit(sampled(steps=40))
        await fleet.running(job_id)
        wire.swallowing = True
        job = await fleet.ended(job_id)
        assert (job["status"], states(job)) == ("succeeded", [("w", "succeeded")])
        assert len(sim.spans) == 1


# --- it grows with every run, and so does what it leaves behind ---


async def test_a_leak(whole: StartWhole, installed: Installed) -> None:
    """It is replaced before it takes the machine along. No run is lost for that: what has not begun is given back."""
    grows = {"faults": [{"kind": "leak", "bytes": 200_000_000, "times": None}]}
    leaky = installed("leaky", grows, recycle={"rss_gb": 0.4})
    fleet = await whole([leaky], **SUPERVISION)
    for color in range(6):
        job = await fleet.ended(await fleet.submit(picture(color), retries=0))
        assert job["status"] == "succeeded", job["error"]
    await fleet.worker_told("leaky-cpu0", "recycle.rss_gb is 0.4")


async def test_what_it_leaves_behind(whole: StartWhole, installed: Installed, tmp_path: Path) -> None:
    """Its folders are its own, and are swept of what was collected."""
    fills = {"faults": [{"kind": "fill", "bytes": 1_000_000, "times": None}]}
    fleet = await whole([installed("one", fills), installed("two", fills)], **SUPERVISION)
    for color in range(4):
        job = await fleet.ended(await fleet.submit(picture(color)))
        assert job["status"] == "succeeded", job["error"]
    homes = [tmp_path / "data/workers" / f"{name}-cpu0" for name in ("one", "two")]
    assert all((home / "temp").is_dir() for home in homes)

    def left() -> list[Path]:
        found = [file for home in homes for kind in ("output", "temp") for file in (home / kind).rglob("*")]
        return [file for file in found if file.is_file()]

    assert left()
    await eventually(lambda: not left(), "what was collected to be deleted")
