"""It has not what it was taken to have: classes, models, room for a file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.simulator.comfyui.faults import Fault, Kind
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import Graph, eventually, node, picture, sampled
from tests.fixtures.failing import CHECKPOINT, always, succeeds
from tests.fixtures.whole import StartWhole, Whole

pytestmark = pytest.mark.usefixtures("impatient")

UPSCALER = "upscale_models/RealESRGAN_x4plus.pth"

# --- it has not what it was taken to have ---


async def test_a_node_pack_that_did_not_import(whole: StartWhole, sim_comfyui: StartSim) -> None:
    failed = await sim_comfyui(faults=(Fault(Kind.MISSING_CLASS, name="ImageBlur"),))
    sound = await sim_comfyui()
    fleet = await whole({"failed": failed.url, "sound": sound.url})
    blurred = picture() | {
        "3": node("ImageBlur", image=["1", 0], blur_radius=1, sigma=1.0),
        "2": node("SaveImage", images=["3", 0], filename_prefix="x"),
    }
    job = await succeeds(fleet, blurred, [("sound", "succeeded")])
    assert job["runs"][0]["placement"]["refused"] == {"failed": "has no node class ImageBlur"}
    assert not failed.spans


@pytest.mark.parametrize(
    ("fault", "lacks"),
    [
        (Fault(Kind.MISSING_MODEL, name=CHECKPOINT), f"has no model {CHECKPOINT}"),
        (Fault(Kind.MISSING_CLASS, name="KSampler"), "has no node class KSampler"),
    ],
    ids=("model", "class"),
)
@pytest.mark.parametrize("version", ["0.33.0", "0.3.64"])
async def test_what_vanished_since_it_was_looked_at(
    whole: StartWhole, sim_comfyui: StartSim, fault: Fault, lacks: str, version: str
) -> None:
    poor, rich = await sim_comfyui(version=version), await sim_comfyui(version=version)
    fleet = await whole({"poor": poor.url, "rich": rich.url})
    await fleet.prefer("poor", sampled(steps=1))
    poor.fail(fault)
    job = await succeeds(fleet, sampled(steps=2), [("poor", "lost"), ("rich", "succeeded")])
    assert fault.name.rpartition("/")[2] in job["runs"][0]["outcome"]

    async def known() -> bool:
        job = await succeeds(fleet, sampled(steps=3), [("rich", "succeeded")])
        return job["runs"][0]["placement"]["refused"].get("poor") == lacks

    await eventually(known, "the fleet to know what the worker lacks")
    assert len(poor.spans) == 1, "it was offered such a run once"
    await fleet.client.post("/v1/workers/rich/drain")
    await succeeds(fleet, picture(), [("poor", "succeeded")])


async def test_what_vanished_everywhere(whole: StartWhole, sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    fleet = await whole({"w": sim.url})
    sim.fail(Fault(Kind.MISSING_MODEL, name=CHECKPOINT))
    job = await fleet.ended(await fleet.submit(sampled(steps=1)))
    name = CHECKPOINT.rpartition("/")[2]
    assert (job["status"], job["error"]["code"]) == ("failed", "no_capable_worker")
    assert f"put {name} into models/checkpoints of its ComfyUI" in job["error"]["message"]
    assert f"expected as models/{CHECKPOINT}" in job["runs"][0]["outcome"]


async def test_a_prompt_that_is_taken_without_some_of_its_outputs(whole: StartWhole, sim_comfyui: StartSim) -> None:
    """ComfyUI answers 200, and names what it drops only in node_errors: half a result is no result."""
    poor, rich = await sim_comfyui(step_seconds=0.05), await sim_comfyui()
    fleet = await whole({"poor": poor.url, "rich": rich.url})
    await fleet.prefer("poor", sampled(steps=1))
    poor.fail(Fault(Kind.MISSING_MODEL, name=UPSCALER))
    graph = sampled(steps=40) | {
        "20": node("UpscaleModelLoader", model_name=UPSCALER.rpartition("/")[2]),
        "21": node("ImageUpscaleWithModel", upscale_model=["20", 0], image=["8", 0]),
        "22": node("SaveImage", images=["21", 0], filename_prefix="large"),
    }
    job = await succeeds(fleet, graph, [("poor", "lost"), ("rich", "succeeded")])
    assert sorted(output["node"] for output in job["outputs"]) == ["22", "9"]
    assert UPSCALER.rpartition("/")[2] in job["runs"][0]["outcome"]
    assert all(ended - began < 1500 for began, ended in poor.spans), "what was queued of it was not left to run on"


# --- uploads ---


def png(size: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((size, size), 50).save(buffer, "PNG")
    return buffer.getvalue()


async def with_input(fleet: Whole, folder: Path, size: int = 16) -> Graph:
    """A graph that needs a file, and a model."""
    (folder / "photo.png").write_bytes(png(size))
    asset = await fleet.client.upload(folder / "photo.png")
    return sampled(steps=1) | {
        "1": node("LoadImage", image={"__type": "core/ASSET", "info": {"id": asset["id"]}}),
        "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
    }


async def test_an_upload_that_is_renamed(whole: StartWhole, sim_comfyui: StartSim, tmp_path: Path) -> None:
    odd, other = await sim_comfyui(), await sim_comfyui()
    fleet = await whole({"odd": odd.url, "other": other.url})
    await fleet.prefer("odd", sampled(steps=2))
    odd.fail(always(Kind.RENAME_UPLOADS))
    job = await succeeds(fleet, await with_input(fleet, tmp_path), [("odd", "lost"), ("other", "succeeded")])
    assert "its input folder is not writable" in job["runs"][0]["outcome"]


async def test_a_file_that_only_one_worker_takes(whole: StartWhole, sim_comfyui: StartSim, tmp_path: Path) -> None:
    narrow, wide = await sim_comfyui(max_upload_bytes=4096), await sim_comfyui()
    fleet = await whole({"narrow": narrow.url, "wide": wide.url})
    await fleet.prefer("narrow", sampled(steps=2))
    graph = await with_input(fleet, tmp_path, size=200)
    await succeeds(fleet, graph, [("narrow", "lost"), ("wide", "succeeded")])
    await fleet.client.post("/v1/workers/wide/drain")
    job = await fleet.ended(await fleet.submit(await with_input(fleet, tmp_path, size=201), retries=0))
    assert (job["status"], job["error"]["code"]) == ("failed", "too_large_for_worker")
    assert "--max-upload-size" in job["error"]["message"]
