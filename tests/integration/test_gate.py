"""The gate as a user sees it: a workflow with candidates, over a whole fleet of simulated ComfyUIs.

A picture of one colour is as sharp as it is green, as clean as it is blue, and cannot be scored if it is all red.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from PIL import Image

from orchestrator.cli.client import FleetClient
from orchestrator.errors import FleetError
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import node
from tests.fixtures.whole import StartWhole, Whole

Json = Any
GRAPH = {
    "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
    "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
}
SCHEMA = {
    "type": "object",
    "properties": {
        "color": {"type": "integer", "minimum": 0, "maximum": 0xFEFFFF, "default": 0x00FF00},
        "width": {"type": "integer", "minimum": 8, "maximum": 64, "default": 8},
    },
}
SHARP = {"sharpness": {"min": 0.5}}
GREEN, DARK, RED = 0x00FF00, 0x000000, 0xFF0000


async def gated(fleet: Whole, quality: Mapping[str, Any], **change: Any) -> None:
    """Registers the workflow `picture` with a gate."""
    body = {
        "name": "picture", "graph": GRAPH, "params": SCHEMA, "bind": {"color": "1.color", "width": "1.width"},
        "quality": {"images": ["2"], "on_miss": {"reseed": "color"}, **quality},
    }  # fmt: skip
    await fleet.client.post("/v1/workflows", {**body, **change})


async def submit(fleet: Whole, color: int = GREEN, **options: Any) -> str:
    return (await fleet.client.post("/v1/workflows/picture/jobs", {"params": {"color": color}, **options}))["id"]


async def ended(fleet: Whole, color: int = GREEN, **options: Any) -> Json:
    return await fleet.ended(await submit(fleet, color, **options))


async def content(client: FleetClient, output: Json, folder: Path) -> bytes:
    file = folder / "output"
    await client.download(output["url"], file)
    data = file.read_bytes()
    assert f"blake3:{blake3(data).hexdigest()}" == output["hash"]
    return data


def seen(data: bytes) -> int:
    red, green, blue = Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    return red << 16 | green << 8 | blue


def within(least: int, most: int) -> Json:
    """The schema, where colours are drawn from that range."""
    color = {"type": "integer", "minimum": least, "maximum": most, "default": least}
    return {**SCHEMA, "properties": {**SCHEMA["properties"], "color": color}}


async def test_the_best_of_four_is_delivered(whole: StartWhole, sim_comfyui: StartSim, tmp_path: Path) -> None:
    fleet = await whole({"w1": (await sim_comfyui()).url, "w2": (await sim_comfyui()).url})
    await gated(fleet, {"scores": {"sharpness": {"min": 0.0}}, "candidates": 4})
    job = await ended(fleet, DARK)
    assert (job["status"], job["quality"]["state"]) == ("succeeded", "accepted")
    assert [run["slot"] for run in job["runs"]] == [0, 1, 2, 3]
    assert {run["worker"] for run in job["runs"]} == {"w1", "w2"}
    candidates = job["quality"]["candidates"]
    values = [candidate["scores"]["sharpness"]["value"] for candidate in candidates]
    assert values == sorted(values, reverse=True)
    assert [candidate["chosen"] for candidate in candidates] == [True, False, False, False]
    colors = [seen(await content(fleet.client, candidate["outputs"][0], tmp_path)) for candidate in candidates]
    assert [(color >> 8 & 0xFF) / 255 for color in colors] == pytest.approx(values)
    assert len(set(colors)) == 4
    (output,) = job["outputs"]
    assert seen(await content(fleet.client, output, tmp_path)) == colors[0]
    assert job["quality"]["scoring_s"] > 0


async def test_a_miss_is_run_again_with_a_new_seed_and_other_params(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w1": (await sim_comfyui()).url})
    again = {"reruns": 2, "reseed": "color", "set": {"width": 16}}
    await gated(fleet, {"scores": SHARP, "on_miss": again})
    assert len((await ended(fleet, GREEN))["runs"]) == 1  # sharp enough: there is no need
    await gated(fleet, {"scores": {"sharpness": {"min": 0.9}}, "on_miss": again}, params=within(0x00, 0xFE))
    job = await ended(fleet, DARK)
    assert [run["slot"] for run in job["runs"]] == [0, 1, 2]
    assert (job["status"], job["error"]["code"]) == ("failed", "quality_missed")
    assert "0 of 3 candidates are good, and 1 wanted" in job["error"]["message"]
    assert "sharpness is 0.00, and at least 0.90 is wanted" in job["error"]["message"]
    assert job["outputs"] == []
    widths = {it["slot"]: it["outputs"][0]["width"] for it in job["quality"]["candidates"]}
    assert widths == {0: 8, 1: 16, 2: 16}


async def test_what_is_not_good_is_delivered_only_if_the_policy_flags_it(
    whole: StartWhole, sim_comfyui: StartSim
) -> None:
    fleet = await whole({"w1": (await sim_comfyui()).url})
    await gated(fleet, {"scores": SHARP, "otherwise": "flag"})
    job = await ended(fleet, DARK)
    assert (job["status"], job["quality"]["state"], len(job["outputs"])) == ("succeeded", "flagged", 1)
    assert "at least 0.50 is wanted" in job["quality"]["why"]


async def test_enough_good_ones_end_the_others(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w1": (await sim_comfyui()).url})
    await gated(fleet, {"scores": {"sharpness": {}}, "candidates": 40, "enough": "first"})
    job = await ended(fleet)
    assert job["status"] == "succeeded"
    states = [(await fleet.job(job["id"]))["runs"][n]["state"] for n in range(40)]
    assert "canceled" in states
    assert len(job["outputs"]) == 1


@pytest.mark.parametrize(("unscored", "status"), [("miss", "failed"), ("pass", "succeeded")])
async def test_a_scorer_that_fails_leaves_the_picture_alone(
    whole: StartWhole, sim_comfyui: StartSim, unscored: str, status: str
) -> None:
    fleet = await whole({"w1": (await sim_comfyui()).url})
    await gated(fleet, {"scores": SHARP, "unscored": unscored}, params=within(0, 0xFFFFFF))
    job = await ended(fleet, RED)
    assert job["status"] == status
    (candidate,) = job["quality"]["candidates"]
    assert candidate["scores"] == {"sharpness": {"value": None, "reason": "no weights"}}
    assert job["runs"][0]["state"] == "succeeded"
    if unscored == "miss":
        assert "sharpness could not be scored: no weights" in job["error"]["message"]


async def test_a_person_decides(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w1": (await sim_comfyui()).url})
    await gated(fleet, {"scores": SHARP, "candidates": 2, "otherwise": "review"}, params=within(0, 0xFF))
    first, second = [await submit(fleet, DARK) for _ in range(2)]

    async def asked() -> list[str]:
        return [review["job"] for review in (await fleet.client.get("/v1/reviews"))["reviews"]]

    await fleet.once(asked, lambda jobs: set(jobs) == {first, second}, "both reviews")
    assert (await fleet.job(first))["status"] == "running"
    with pytest.raises(FleetError, match="slots names 7, which has no picture; there are 0, 1"):
        await fleet.client.post(f"/v1/reviews/{first}/approve", {"slots": [7]})
    approved = await fleet.client.post(f"/v1/reviews/{first}/approve", {"slots": [1], "comment": "dark on purpose"})
    assert (approved["status"], approved["quality"]["why"]) == ("succeeded", "approved: dark on purpose")
    assert [it["slot"] for it in approved["quality"]["candidates"] if it["chosen"]] == [1]
    rejected = await fleet.client.post(f"/v1/reviews/{second}/reject", {"comment": "too dark"})
    assert (rejected["status"], rejected["error"]["message"]) == ("failed", "rejected: too dark")
    assert await asked() == []
    with pytest.raises(FleetError, match="waits for nobody's review"):
        await fleet.client.post(f"/v1/reviews/{first}/approve", {})


async def test_of_many_decisions_at_once_one_counts(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w1": (await sim_comfyui()).url})
    await gated(fleet, {"scores": SHARP, "otherwise": "review"}, params=within(0, 0xFF))
    job_id = await submit(fleet, DARK)

    async def asked() -> list[str]:
        return [review["job"] for review in (await fleet.client.get("/v1/reviews"))["reviews"]]

    await fleet.once(asked, lambda jobs: jobs == [job_id], "the review")
    paths = [f"/v1/reviews/{job_id}/{decision}" for decision in ("approve", "reject") * 4]
    answers = await asyncio.gather(*(fleet.client.post(path, {}) for path in paths), return_exceptions=True)
    refused = [answer.code for answer in answers if isinstance(answer, FleetError)]
    (decided,) = [answer for answer in answers if isinstance(answer, dict)]
    assert len(refused) == 7
    assert set(refused) <= {"review_over", "no_review"}
    why, outputs = {"succeeded": ("approved by a person", 1), "failed": ("rejected by a person", 0)}[decided["status"]]
    job = await fleet.job(job_id)
    assert (job["status"], job["quality"]["why"], len(job["outputs"])) == (decided["status"], why, outputs)


async def test_a_review_that_nobody_does_ends_by_itself(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w1": (await sim_comfyui()).url})
    await gated(
        fleet, {"scores": SHARP, "otherwise": "review", "review": {"timeout_s": 0.1, "otherwise": "flag"}},
    )  # fmt: skip
    job = await ended(fleet, DARK)
    assert (job["status"], job["quality"]["state"]) == ("succeeded", "flagged")
    assert "nobody decided within 0.1 s" in job["quality"]["why"]


async def test_a_reference_of_the_job_goes_to_its_scorer(
    whole: StartWhole, sim_comfyui: StartSim, tmp_path: Path
) -> None:
    fleet = await whole({"w1": (await sim_comfyui()).url})
    Image.new("RGB", (8, 8), (0, 255, 0)).save(tmp_path / "face.png")
    graph = {**GRAPH, "3": node("LoadImage", image="any.png"), "4": node("PreviewImage", images=["3", 0])}
    schema = {
        "type": "object",
        "properties": {**SCHEMA["properties"], "face": {"type": "string"}},
        "required": ["face"],
    }
    bind = {"color": "1.color", "width": "1.width", "face": {"input": "3.image", "kind": "image"}}
    scores = {"reference_similarity": {"min": 0.9, "reference": "$face"}}
    await gated(fleet, {"scores": scores}, graph=graph, params=schema, bind=bind, outputs=["2"])
    asset = await fleet.client.upload(tmp_path / "face.png")
    like, unlike = await asyncio.gather(
        *(
            fleet.client.post("/v1/workflows/picture/jobs?wait=30", {"params": {"color": color, "face": asset["id"]}})
            for color in (GREEN, 0x0000FE)
        )
    )
    assert (like["status"], unlike["status"]) == ("succeeded", "failed")
    assert [output["node"] for output in like["outputs"]] == ["2"]


async def test_a_job_stays_within_the_bounds_of_its_workflow(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w1": (await sim_comfyui()).url})
    await gated(fleet, {"scores": {"sharpness": {}}, "candidates": 2, "max_candidates": 5})
    job = await ended(fleet, candidates=5, deliver=3)
    assert (len(job["runs"]), len(job["outputs"])) == (5, 3)
    with pytest.raises(FleetError, match="candidates must be at most 5"):
        await submit(fleet, candidates=6)
    with pytest.raises(FleetError, match="deliver is 3, of 2 candidates"):
        await submit(fleet, deliver=3)


async def test_of_240_candidates_exactly_the_best_60_are_delivered_while_workers_die(
    whole: StartWhole, sim_process: Any
) -> None:
    workers = {f"w{n}": await sim_process() for n in range(3)}
    fleet = await whole({name: worker.url for name, worker in workers.items()})
    scores = {"sharpness": {"weight": 1}, "artifacts": {"weight": 3}}
    await gated(fleet, {"scores": scores, "candidates": 240, "deliver": 60}, retries=20)
    job_id = await submit(fleet)

    async def done() -> int:
        return sum(run["state"] == "succeeded" for run in (await fleet.job(job_id))["runs"])

    await fleet.once(done, lambda count: count >= 40, "the first candidates")
    await workers["w0"].kill()
    await fleet.once(done, lambda count: count >= 120, "half of the candidates")
    await workers["w1"].kill()
    job = await fleet.ended(job_id)
    assert job["status"] == "succeeded", job["error"]
    committed = [run["slot"] for run in job["runs"] if run["state"] == "succeeded"]
    assert sorted(committed) == list(range(240))  # each candidate once, whatever died
    candidates = job["quality"]["candidates"]
    chosen = [candidate["score"] for candidate in candidates if candidate["chosen"]]
    assert chosen == sorted((candidate["score"] for candidate in candidates), reverse=True)[:60]
    assert len({output["hash"] for output in job["outputs"]}) == len(job["outputs"]) == 60
