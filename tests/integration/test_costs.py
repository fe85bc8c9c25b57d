"""What a busy fleet costs and what its jobs will take, over real sockets, against simulated ComfyUIs with noise.

The time of the workers is measured without the ledger: by when each was registered, says its story, until it was asked.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import pytest

from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import sampled
from tests.fixtures.whole import StartWhole, Whole

RATE = 3.6
RUNS = 30
HEARTBEAT_S = 0.2
STEPS, SPREAD = 20, 0.3


async def noisy(fleet: Whole, rng: random.Random, count: int) -> list[dict[str, Any]]:
    """So many jobs, whose sampling takes random numbers of steps."""
    steps = [max(1, round(STEPS * rng.lognormvariate(0, SPREAD))) for _ in range(count)]
    path = "/v1/workflows/noisy/jobs"
    jobs = [
        await fleet.client.post(
            path, {"params": {"steps": n, "seed": rng.randrange(1 << 30)}, "metadata": {"team": "red"}}
        )
        for n in steps
    ]
    return [await fleet.ended(job["id"]) for job in jobs]


async def registered(fleet: Whole) -> None:
    graph = sampled(STEPS)
    sampler = next(name for name, node in graph.items() if "steps" in node["inputs"])
    integer = {"type": "integer", "minimum": 0, "default": 1}
    await fleet.client.post("/v1/workflows", {
        "name": "noisy", "graph": graph, "bind": {"steps": f"{sampler}.steps", "seed": f"{sampler}.seed"},
        "params": {"type": "object", "properties": {"steps": integer, "seed": integer}},
    })  # fmt: skip


async def up_s(fleet: Whole) -> float:
    """Seconds since their registrations, of all workers, by now. (Redis has the clock of this machine.)"""
    workers = [await fleet.worker(it["id"]) for it in (await fleet.client.get("/v1/workers"))["workers"]]
    return sum((datetime.now(UTC) - datetime.fromisoformat(it["changes"][-1]["at"])).total_seconds() for it in workers)


async def test_a_busy_fleet_adds_up_and_its_next_jobs_take_what_was_estimated(
    whole: StartWhole, sim_comfyui: StartSim
) -> None:
    workers = [{"id": name, "url": (await sim_comfyui(step_seconds=0.003)).url, "gpu": "sim"} for name in ("w1", "w2")]
    fleet = await whole(workers, gpu_rates={"sim": RATE}, leases={"heartbeat_s": HEARTBEAT_S})
    await registered(fleet)
    rng = random.Random(7)
    await noisy(fleet, rng, RUNS)
    told = await fleet.client.post("/v1/workflows/noisy/estimate", {})
    assert told["runs"] == RUNS

    later = await noisy(fleet, rng, RUNS)
    measured_s = fmean(job["runs"][-1]["timings"]["executed"] for job in later)
    assert told["seconds"]["expected"] == pytest.approx(measured_s, rel=0.2)
    assert told["dollars"]["expected"] == pytest.approx(fmean(job["cost"] for job in later), rel=0.2)

    least_s = await up_s(fleet)
    costs = await fleet.client.get("/v1/costs", group_by="worker")
    behind_s = 2 * (HEARTBEAT_S + 0.5)  # nothing executes; what is unused is booked with each heartbeat
    assert least_s - behind_s <= costs["total"]["seconds"] <= await up_s(fleet)
    assert costs["total"]["dollars"] == pytest.approx(costs["total"]["seconds"] * RATE / 3600, rel=1e-3)
    profile = await fleet.client.get("/v1/workflows/noisy/profile")
    assert profile["nodes"][0]["class_type"] == "KSampler"
