"""What a tenant is told of a job that waits, by the one controller that knows."""

from __future__ import annotations

from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import picture, sampled
from tests.fixtures.whole import StartWhole


async def test_a_queued_job_says_where_its_tenant_stands(whole: StartWhole, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui(step_seconds=0.05)
    fleet = await whole({"w": sim.url}, tenants={"modest": {"weight": 3}})
    running = await fleet.submit(sampled(steps=5000), tenant="greedy")
    await fleet.running(running)
    greedy = [await fleet.submit(picture(color), tenant="greedy") for color in range(30)]
    modest = await fleet.submit(picture(99), tenant="modest")

    beyond = await fleet.client.get(f"/v1/jobs/{greedy[-1]}/explain")
    account = beyond["account"]
    assert (account["tenant"], account["portion"], account["within"]) == ("greedy", 0.25, False)
    assert account["queued"] > account["queued_within"]
    assert account["first"] == account["queued_within"] + 1
    assert "; it is beyond the share of tenant greedy, which is 25% of the pool (" in beyond["summary"]

    within = await fleet.client.get(f"/v1/jobs/{modest}/explain")
    assert within["account"]["within"]
    assert within["summary"].endswith("; it is within the share of tenant modest, which is 75% of the pool")
    assert within["waits_for"] is None

    executes = await fleet.client.get(f"/v1/jobs/{running}/explain")
    assert (executes["account"], executes["waits_for"]) == (None, None)
    await fleet.client.post(f"/v1/jobs/{running}/cancel")
