"""Out of memory: once more with nothing else in it, then where there is more, then a clear word."""

from __future__ import annotations

import pytest

from orchestrator.simulator.comfyui.faults import Fault, Kind
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import picture, sampled
from tests.fixtures.failing import CHECKPOINT, always, have_learned, states, succeeds
from tests.fixtures.whole import StartWhole

pytestmark = pytest.mark.usefixtures("impatient")

GIB = 1024**3

OUT_OF_MEMORY_AFTER_A_WHILE = (
    Fault(Kind.STALL, class_type="KSampler", seconds=0.3),
    Fault(Kind.OUT_OF_MEMORY, class_type="KSampler"),
)


@pytest.mark.parametrize("node_pack", [True, False])
async def test_out_of_memory_once(whole: StartWhole, sim_comfyui: StartSim, node_pack: bool) -> None:
    """ComfyUI collects garbage right after the run, and must not miss that its memory is to be emptied."""
    sim = await sim_comfyui(node_pack=node_pack, collect_seconds=0.4, step_seconds=0.02)
    fleet = await whole({"w": sim.url})
    await have_learned(fleet)
    sim.fail(*OUT_OF_MEMORY_AFTER_A_WHILE)
    too_large = await fleet.submit(sampled(steps=5))
    await fleet.running(too_large)
    behind = await fleet.submit(picture())
    job = await fleet.ended(too_large)
    assert job["status"] == "succeeded", job["error"]
    assert states(job) == [("w", "succeeded")], "trying it again here costs no retry"
    assert sim.loads == {CHECKPOINT: 2}, "the second time, nothing was left of the first"
    other = await fleet.ended(behind)
    assert (other["status"], states(other)) == ("succeeded", [("w", "succeeded")])


async def test_out_of_memory_whatever_is_unloaded(whole: StartWhole, sim_comfyui: StartSim) -> None:
    small = await sim_comfyui(node_pack=True)
    as_small = await sim_comfyui()
    large = await sim_comfyui(vram_bytes=48 * GIB)
    fleet = await whole({"small": small.url, "as-small": as_small.url, "large": large.url})
    await fleet.prefer("small", sampled(steps=1))
    for sim in (small, as_small):
        sim.fail(always(Kind.OUT_OF_MEMORY, class_type="KSampler"))
    job = await succeeds(fleet, sampled(steps=2), [("small", "lost"), ("large", "succeeded")])
    assert "KSampler (node 3) ran out of memory: Allocation on device" in job["runs"][0]["outcome"]
    assert "small has 24.0 GiB of VRAM and nothing else was in it" in job["runs"][0]["outcome"]
    assert len(small.spans) == 1 + 2, "tried again once, with nothing else in memory"
    assert not as_small.spans, "a worker that is no larger was spared"
    assert (await fleet.worker("small"))["state"] == "ready"
    await succeeds(fleet, picture(), [("small", "succeeded")])


async def test_out_of_memory_wherever_it_is_tried(whole: StartWhole, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(node_pack=True, faults=(always(Kind.OUT_OF_MEMORY, class_type="KSampler"),))
    fleet = await whole({"w": sim.url})
    job = await fleet.ended(await fleet.submit(sampled(steps=1)))
    assert (job["status"], job["error"]["code"]) == ("failed", "out_of_memory")
    assert "a worker with 24.0 GiB of VRAM" in job["error"]["message"]
    assert "add a worker with more VRAM" in job["error"]["message"]
    assert [state for _, state in states(job)] == ["lost", "failed"]

    job = await fleet.ended(await fleet.submit(sampled(steps=2), retries=0))
    assert (job["status"], job["error"]["code"]) == ("failed", "out_of_memory")
    assert (job["error"]["node_id"], job["error"]["class_type"]) == ("3", "KSampler")
    assert job["error"]["details"]["vram_bytes"] == 24 * GIB
    assert "use a smaller size or batch, or a worker with more" in job["error"]["message"]


async def test_a_cancel_while_memory_is_to_be_emptied(whole: StartWhole, sim_comfyui: StartSim) -> None:
    """It has to wait for the run behind it, which goes on as if nothing had been."""
    sim = await sim_comfyui(node_pack=True, step_seconds=0.05)
    fleet = await whole({"w": sim.url})
    await have_learned(fleet)
    sim.fail(*OUT_OF_MEMORY_AFTER_A_WHILE)
    too_large = await fleet.submit(sampled(steps=3))
    await fleet.running(too_large)
    behind = await fleet.submit(sampled(steps=40))
    await fleet.running(behind)
    await fleet.client.post(f"/v1/jobs/{too_large}/cancel")
    assert (await fleet.ended(too_large))["status"] == "canceled"
    assert (await fleet.job(behind))["status"] == "running"
    job = await fleet.ended(behind)
    assert (job["status"], states(job)) == ("succeeded", [("w", "succeeded")])
    assert len(sim.spans) == 3 + 2, "what was canceled was not executed once more"
