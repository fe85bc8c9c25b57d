"""Around prompts: queue, jobs, history, interrupts, sockets, files, and what a ComfyUI is asked before its use."""

from __future__ import annotations

import json
import uuid

from tests.contract.driver import Driver, ends
from tests.contract.scenario import (
    CHANCE,
    PROGRESS,
    empty_image,
    long_graph,
    node,
    png,
    sampling_started,
    scenario,
    trivial_graph,
    upload_form,
)


@scenario
async def waiting_queue(driver: Driver) -> None:
    """Order by number and front; deleting and clearing what waits; interrupting what runs."""
    await driver.connect("a", "a")
    running = await driver.submit(long_graph("queue/long", 1))
    await sampling_started(driver, running)
    waiting = [await driver.submit(trivial_graph(13 + index, "queue/x")) for index in range(3)]
    front = await driver.submit(trivial_graph(20, "queue/front"), front=True)
    await driver.submit(trivial_graph(21, "queue/numbered"), number=0.5)
    await driver.http("GET", "/queue")
    await driver.http("GET", "/prompt")
    await driver.http("POST", "/queue", body={"delete": [waiting[1], str(uuid.uuid4())]})
    await driver.http("POST", "/queue", note="delete the running one", body={"delete": [running]})
    await driver.http("GET", "/queue")
    await driver.http("POST", "/interrupt", note="not running", body={"prompt_id": waiting[0]})
    await driver.http("POST", "/interrupt", note="running", body={"prompt_id": running})
    await driver.finish("a", running, drop=CHANCE)
    for prompt_id in (front, waiting[0], waiting[2]):
        await driver.hear("a", ends(prompt_id), drop=CHANCE)
    running = await driver.submit(long_graph("queue/long", 2))
    await sampling_started(driver, running)
    await driver.submit(trivial_graph(22, "queue/x"))
    await driver.http("POST", "/queue", body={"clear": True})
    await driver.http("GET", "/queue")
    await driver.http("POST", "/interrupt", note="global, empty body", data=b"")
    await driver.finish("a", running, drop=CHANCE)
    await driver.http("GET", "/queue")


@scenario
async def idle_interrupt(driver: Driver) -> None:
    """One that comes when nothing runs is forgotten with the next prompt."""
    await driver.connect("a", "a")
    await driver.http("POST", "/interrupt", body={})
    await driver.run(trivial_graph(70, "idle/x"))


@scenario
async def jobs_cancel(driver: Driver) -> None:
    """/api/jobs/ID/cancel on what runs, waits, is finished, and does not exist."""
    await driver.connect("a", "a")
    running = await driver.submit(long_graph("cancel/long", 3))
    await sampling_started(driver, running)
    waiting = [await driver.submit(trivial_graph(30 + index, "cancel/x")) for index in range(3)]
    await driver.http("GET", "/api/jobs?sort_order=asc")
    await driver.http("POST", f"/api/jobs/{waiting[0]}/cancel")
    await driver.http("POST", "/api/jobs/cancel", body={"job_ids": [waiting[1], str(uuid.uuid4())]})
    await driver.http("POST", f"/api/jobs/{running}/cancel")
    await driver.finish("a", running, drop=CHANCE)
    await driver.finish("a", waiting[2], drop=CHANCE)
    await driver.http("POST", f"/api/jobs/{waiting[2]}/cancel", note="finished")
    await driver.http("POST", f"/api/jobs/{uuid.uuid4()}/cancel", note="unknown")
    await driver.http("POST", "/api/jobs/cancel", note="bad ids", body={"job_ids": ["x", 5]})
    await driver.http("POST", "/api/jobs/cancel", note="no list", body={"job_ids": "x"})
    await driver.http("GET", f"/api/jobs/{running}")
    await driver.http("GET", f"/api/jobs/{waiting[0]}")


@scenario
async def jobs(driver: Driver) -> None:
    """/api/jobs: its list, filters and pages, and single jobs."""
    await driver.connect("a", "a")
    ids = [
        await driver.run(
            trivial_graph(40, "jobs/x"), drop=CHANCE, extra_data={"extra_pnginfo": {"workflow": {"id": "w"}}}
        ),
        await driver.run({"1": empty_image(41), "2": node("PreviewImage", images=["1", 0])}, drop=CHANCE),
        await driver.run(
            {"1": node("PrimitiveString", value="t"), "2": node("PreviewAny", source=["1", 0])}, drop=CHANCE
        ),
        await driver.run(trivial_graph(42, "../outside/x"), drop=CHANCE),
    ]
    for query in (
        "",
        "?status=completed",
        "?status=failed,cancelled",
        "?status=odd",
        "?workflow_id=w",
        "?limit=1&offset=1&sort_order=asc",
        "?limit=0",
        "?limit=x",
        "?offset=x",
        "?sort_by=odd",
        "?sort_order=odd",
    ):
        await driver.http("GET", f"/api/jobs{query}")
    for prompt_id in ids:
        await driver.http("GET", f"/api/jobs/{prompt_id}")


@scenario
async def history_pages(driver: Driver) -> None:
    await driver.connect("a", "a")
    ids = [await driver.run(trivial_graph(50 + index, "history/x"), drop=CHANCE) for index in range(4)]
    for query in ("?max_items=2", "?max_items=2&offset=1", "?offset=3", "?max_items=9", "?max_items=0"):
        answer = await driver.http("GET", f"/history{query}")
        driver.note({"order": list(answer)})
    await driver.http("POST", "/history", body={"delete": [ids[1], str(uuid.uuid4())]})
    await driver.http("GET", f"/history/{ids[1]}")
    await driver.http("POST", "/history", body={"clear": True})
    await driver.http("GET", "/history")


@scenario
async def sockets(driver: Driver) -> None:
    """Feature flags; ids given, missing and repeated; who hears what."""
    await driver.connect("unnamed")
    await driver.connect("a", "a")
    await driver.say("a", {"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    await driver.hear("a", lambda message: message["type"] == "feature_flags")
    await driver.say("a", {"type": "feature_flags", "data": {}})
    await driver.silence("a")
    await driver.connect("b", "b")
    await driver.say("b", {"type": "other"})
    await driver.say("b", {"type": "feature_flags", "data": {}})
    await driver.silence("b")
    await driver.run(trivial_graph(60, "sockets/x"))
    await driver.hear("b", lambda m: m["type"] == "status" and not m["data"]["status"]["exec_info"]["queue_remaining"])
    await driver.connect("again", "b")
    prompt_id = await driver.submit(trivial_graph(61, "sockets/x"), client="b")
    await driver.finish("again", prompt_id)
    await driver.silence("b")


@scenario
async def reconnecting(driver: Driver) -> None:
    """A client that comes back in mid-run is told which node executes, and hears the rest."""
    await driver.connect("a", "a")
    prompt_id = await driver.submit(long_graph("reconnecting/x", 4))
    await sampling_started(driver, prompt_id)
    await driver.connect("back", "a")
    await driver.hear("back", lambda message: message["type"] == "executing", drop=PROGRESS)
    await driver.http("POST", "/interrupt", body={"prompt_id": prompt_id})
    await driver.finish("back", prompt_id, drop=CHANCE)


@scenario
async def uploads(driver: Driver) -> None:
    """Names that collide, with the same content and other; overwriting; subfolders; names that lead outside."""
    red, blue = png("red"), png("blue")
    send = driver.http
    await send("POST", "/upload/image", data=upload_form(red, "u.png"))
    await send("POST", "/upload/image", note="same", data=upload_form(red, "u.png"))
    await send("POST", "/upload/image", note="other", data=upload_form(blue, "u.png"))
    await send("POST", "/upload/image", note="other again", data=upload_form(blue, "u.png"))
    await send("POST", "/upload/image", note="third", data=upload_form(png("green"), "u.png"))
    await send("POST", "/upload/image", note="overwrite", data=upload_form(blue, "u.png", overwrite="true"))
    await send("GET", "/view?filename=u.png&type=input")
    await send("GET", "/view?filename=u (1).png&type=input")
    await send("POST", "/upload/image", note="subfolder", data=upload_form(red, "u.png", subfolder="a/b"))
    await send("POST", "/upload/image", note="temp", data=upload_form(red, "u.png", type="temp"))
    await send("POST", "/upload/image", note="outside", data=upload_form(red, "u.png", subfolder="../../x"))
    await send("POST", "/upload/image", note="no file", data={"overwrite": "true"})
    await send("POST", "/upload/image", note="any file", data=upload_form(b"words", "u.txt"))
    original = json.dumps({"filename": "u.png", "subfolder": "a/b", "type": "input"})
    mask = png("#00000040", mode="RGBA")
    await send("POST", "/upload/mask", data=upload_form(mask, "m.png", original_ref=original, subfolder="masks"))
    await send("GET", "/view?filename=m.png&type=input&subfolder=masks")


@scenario
async def views(driver: Driver) -> None:
    """Previews, channels, ranges, and names that are refused."""
    await driver.http("POST", "/upload/image", data=upload_form(png("#ff000080", (16, 8), "RGBA"), "v.png"))
    await driver.http("POST", "/upload/image", data=upload_form(b"<p>hi", "v.html"))
    await driver.http("POST", "/upload/image", data=upload_form(b"<svg/>", "v.svg"))
    view = "/view?type=input&filename="
    for query in (
        "v.png",
        "v.png&preview=webp;50",
        "v.png&preview=jpeg",
        "v.png&preview=odd",
        "v.png&preview=jpeg&channel=a",
        "v.png&channel=rgb",
        "v.png&channel=a",
        "v.png&channel=rgba",
        "v.html",
        "v.svg",
        "absent.png",
        "../v.png",
        "/etc/passwd",
        "v.png&subfolder=../..",
    ):
        await driver.http("GET", f"{view}{query}")
    await driver.http("GET", "/view")
    await driver.http("GET", "/view?filename=v.png")
    await driver.http("GET", "/view?filename=v.png%20[input]")
    await driver.http("GET", "/view?filename=v.png&type=odd")
    await driver.http("GET", f"{view}v.html", note="range", headers={"Range": "bytes=1-2"})


@scenario
async def catalog(driver: Driver) -> None:
    """What is asked of a ComfyUI before it is used."""
    for path in ("/features", "/api/features", "/models/checkpoints", "/models/unet", "/models/odd", "/models"):
        await driver.http("GET", path)
    for path in ("/embeddings", "/experiment/models/checkpoints", "/experiment/models/odd"):
        await driver.http("GET", path)
    for name in ("CheckpointLoaderSimple", "UpscaleModelLoader", "KSampler", "SaveImage", "ImageBlend", "NoSuchNode"):
        await driver.http("GET", f"/object_info/{name}")
    stats = await driver.fetch("/system_stats")
    driver.note({"system": sorted(stats["system"]), "devices": [sorted(device) for device in stats["devices"]]})
    driver.note({"device": {key: stats["devices"][0][key] for key in ("name", "type", "index")}})
