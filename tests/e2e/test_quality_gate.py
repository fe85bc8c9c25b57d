"""The gate on a real ComfyUI with the node pack: candidates are scored on their pixels, a miss is run again.

The candidates are one photograph, blurred as much as their `radius` says, which is what differs between them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from tests.fixtures.real_comfyui import StartRealComfyUI
from tests.fixtures.whole import StartWhole, Whole

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PACK = Path(__file__).parents[2] / "comfy_nodes"


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


WORKFLOW = {
    "name": "blurred",
    "graph": {
        "1": node("LoadImage", image="photograph.png"),
        "2": node("ImageBlur", image=["1", 0], blur_radius=1, sigma=4.0),
        "4": node("ImageBlend", image1=["1", 0], image2=["2", 0], blend_factor=1.0, blend_mode="normal"),
        "3": node("SaveImage", images=["4", 0], filename_prefix="x"),
    },
    "params": {
        "type": "object",
        "properties": {
            "photograph": {"type": "string"},
            "radius": {"type": "integer", "minimum": 1, "maximum": 16, "default": 1},
            "blurred": {"type": "number", "minimum": 0, "maximum": 1, "default": 1.0},
        },
        "required": ["photograph"],
    },
    "bind": {
        "photograph": {"input": "1.image", "kind": "image"},
        "radius": "2.blur_radius",
        "blurred": "4.blend_factor",
    },
    "outputs": ["3"],
}
SCORES = {"sharpness": {"weight": 3}, "artifacts": {}, "composition": {}}


async def fleet_with(whole: StartWhole, real_comfyui: StartRealComfyUI) -> Whole:
    comfyui = await real_comfyui(packs={"comfyfleet": PACK})
    return await whole({"w1": comfyui.url})


def photograph(folder: Path) -> Path:
    """Edges and corners at every scale, so that there is something to be sharp."""
    image = Image.new("RGB", (256, 256), (200, 190, 170))
    draw = ImageDraw.Draw(image)
    for n in range(40):
        x, y = n * 53 % 240, n * 97 % 240
        draw.rectangle((x, y, x + 8 + n % 9, y + 8 + n % 7), fill=(n * 31 % 256, n * 67 % 256, n * 101 % 256))
    image.save(folder / "photograph.png")
    return folder / "photograph.png"


async def job_of(fleet: Whole, folder: Path, quality: dict[str, Any], **params: Any) -> dict[str, Any]:
    await fleet.client.post("/v1/workflows", {**WORKFLOW, "quality": {"images": ["3"], **quality}})
    asset = await fleet.client.upload(photograph(folder))
    path = "/v1/workflows/blurred/jobs?wait=120"
    return await fleet.client.post(path, {"params": {"photograph": asset["id"], **params}})


async def test_the_sharpest_of_four_is_delivered_and_a_miss_is_run_again(
    whole: StartWhole, real_comfyui: StartRealComfyUI, tmp_path: Path
) -> None:
    fleet = await fleet_with(whole, real_comfyui)
    gate = {"scores": SCORES, "candidates": 4, "deliver": 1, "on_miss": {"reseed": "radius"}}
    job = await job_of(fleet, tmp_path, gate)
    assert job["status"] == "succeeded", job["error"]
    candidates = job["quality"]["candidates"]
    assert [candidate["state"] for candidate in candidates] == ["scored"] * 4
    assert all(score["value"] is not None for it in candidates for score in it["scores"].values()), candidates
    (chosen,) = [candidate for candidate in candidates if candidate["chosen"]]
    assert chosen["score"] == max(candidate["score"] for candidate in candidates)
    least_blurred = next(candidate for candidate in candidates if candidate["slot"] == 0)
    assert least_blurred["scores"]["sharpness"]["value"] >= max(
        candidate["scores"]["sharpness"]["value"] for candidate in candidates
    )
    assert [output["node"] for output in job["outputs"]] == ["3"]
    assert job["outputs"][0]["hash"] == chosen["outputs"][0]["hash"]
    assert job["quality"]["scoring_s"] > 0

    milder = {"reruns": 1, "reseed": "radius", "set": {"blurred": 0.0}}
    job = await job_of(fleet, tmp_path, {"scores": {"sharpness": {"min": 0.8}}, "on_miss": milder}, radius=16)
    assert job["status"] == "succeeded", job["error"]
    good, missed = job["quality"]["candidates"]  # the best first
    assert [(it["slot"], it["chosen"]) for it in (good, missed)] == [(1, True), (0, False)]
    assert "at least 0.80 is wanted" in missed["misses"][0]

    again = {"reruns": 1, "reseed": "radius"}
    job = await job_of(fleet, tmp_path, {"scores": {"sharpness": {"min": 1.0}}, "on_miss": again}, radius=16)
    assert (job["status"], job["error"]["code"]) == ("failed", "quality_missed")
    assert [run["slot"] for run in job["runs"]] == [0, 1]
