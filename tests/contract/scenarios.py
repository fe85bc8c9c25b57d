"""What a ComfyUI is asked in order to learn how it answers; recorded on real ones, replayed on the simulated one."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from PIL import Image

from tests.contract.driver import Driver, ends

Json = Any
Scenario = Callable[[Driver], Awaitable[None]]

SCENARIOS: dict[str, Scenario] = {}
SINCE_JOBS_API = {"jobs", "jobs_cancel"}
"""Scenarios for versions with /api/jobs."""

CHECKPOINT = "sd15_random.safetensors"
PROGRESS = frozenset({"progress", "progress_state", "(binary 1)"})
CHANCE = PROGRESS | {"status"}
"""Messages whose number or place depends on timing when several prompts are about."""


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def node(class_type: str, **inputs: Json) -> Json:
    return {"class_type": class_type, "inputs": inputs}


def empty_image(color: int = 0, **inputs: Json) -> Json:
    return node("EmptyImage", **{"width": 32, "height": 16, "batch_size": 1, "color": color, **inputs})


def trivial_graph(color: int, prefix: str) -> Json:
    return {"1": empty_image(color), "2": node("SaveImage", images=["1", 0], filename_prefix=prefix)}


def sampled(prefix: str, steps: int, **sampler: Json) -> Json:
    settings = {"seed": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0, **sampler}
    return {
        "4": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "6": node("CLIPTextEncode", text="a lighthouse", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="", clip=["4", 1]),
        "3": node(
            "KSampler",
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
            steps=steps,
            **settings,
        ),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix=prefix),
    }


def long_graph(prefix: str, seed: int) -> Json:
    """Samples for as long as it is let."""
    return sampled(prefix, 1000, seed=seed)


def png(color: str, size: tuple[int, int] = (8, 4), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


def upload_form(content: bytes, name: str, **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("image", content, filename=name, content_type="image/png")
    for key, value in fields.items():
        form.add_field(key, value)
    return form


async def sampling_started(driver: Driver, prompt_id: str, client: str = "a") -> None:
    await driver.hear(
        client,
        lambda message: message["type"] == "progress" and message["data"]["prompt_id"] == prompt_id,
        drop=CHANCE,
    )


@scenario
async def trivial(driver: Driver) -> None:
    """One graph, from the empty history to the picture."""
    await driver.connect("a", "a")
    prompt_id = str(uuid.uuid4())
    await driver.http("GET", f"/history/{prompt_id}")
    await driver.http("GET", "/queue")
    await driver.run(trivial_graph(0x0000FF, "trivial/x"), extra_data={"extra_pnginfo": {"workflow": {"id": "w"}}})
    await driver.http("GET", "/history")
    await driver.http("GET", "/view?filename=x_00001_.png&subfolder=trivial")
    await driver.http("GET", "/prompt")
    await driver.http("GET", "/api/prompt")


@scenario
async def cached(driver: Driver) -> None:
    """The same again, then with another file name, another colour, other node ids, and the first once more."""
    await driver.connect("a", "a")
    await driver.run(trivial_graph(1, "cached/x"))
    await driver.run(trivial_graph(1, "cached/x"))
    await driver.run(trivial_graph(1, "cached/y"))
    await driver.run(trivial_graph(2, "cached/y"))
    renumbered = {"8": empty_image(2), "7": node("SaveImage", images=["8", 0], filename_prefix="cached/y")}
    await driver.run(renumbered)
    await driver.run(trivial_graph(1, "cached/x"))


@scenario
async def outputs_of_each_kind(driver: Driver) -> None:
    """Pictures saved and previewed, text, clips, latents."""
    await driver.connect("a", "a")
    batch = {"1": empty_image(3, batch_size=2)}
    await driver.run({**batch, "2": node("SaveImage", images=["1", 0], filename_prefix="kinds/%width%x%height%")})
    await driver.run({**batch, "2": node("PreviewImage", images=["1", 0])})
    await driver.run({"1": node("PrimitiveString", value="words"), "2": node("PreviewAny", source=["1", 0])})
    await driver.run({"1": node("PrimitiveInt", value=7), "2": node("PreviewAny", source=["1", 0])})
    webp = {"fps": 6.0, "lossless": True, "quality": 80, "method": "default"}
    await driver.run({**batch, "2": node("SaveAnimatedWEBP", images=["1", 0], filename_prefix="kinds/clip", **webp)})
    still = {"1": empty_image(3), "2": node("SaveAnimatedWEBP", images=["1", 0], filename_prefix="kinds/still", **webp)}
    await driver.run(still)
    latent = node("EmptyLatentImage", width=64, height=64, batch_size=1)
    await driver.run({"1": latent, "2": node("SaveLatent", samples=["1", 0], filename_prefix="kinds/l")})
    await driver.run({**batch, "2": node("SaveImageWebsocket", images=["1", 0])})


@scenario
async def two_outputs(driver: Driver) -> None:
    """One source, two outputs; then one of them changed; then only one of them wanted."""
    await driver.connect("a", "a")
    first = node("SaveImage", images=["1", 0], filename_prefix="two/first")
    second = node("SaveImage", images=["2", 0], filename_prefix="two/second")
    graph = {"1": empty_image(4), "2": node("ImageInvert", image=["1", 0]), "4": first, "5": second}
    await driver.run(graph)
    await driver.run({**graph, "5": node("SaveImage", images=["2", 0], filename_prefix="two/third")})
    await driver.run({**graph, "1": empty_image(5)}, partial_execution_targets=["5"])


@scenario
async def without_a_client(driver: Driver) -> None:
    """A prompt of nobody: everybody hears its progress, and nothing else of it."""
    await driver.connect("a", "a")
    prompt_id = await driver.submit(trivial_graph(6, "nobody/x"), client=None)
    await driver.hear("a", lambda m: m["type"] == "status" and not m["data"]["status"]["exec_info"]["queue_remaining"])
    await driver.http("GET", f"/history/{prompt_id}")


@scenario
async def refusals(driver: Driver) -> None:
    """Every way in which a prompt can be wrong."""
    save = node("SaveImage", images=["1", 0], filename_prefix="refused/x")
    bad: dict[str, Json] = {
        "empty": {},
        "no class_type": {"1": {"inputs": {}}, "2": save},
        "no class_type, titled": {"1": {"inputs": {}, "_meta": {"title": "The Source"}}, "2": save},
        "unknown class": {"1": node("NoSuchNode"), "2": save},
        "unknown class, titled": {"1": {**node("NoSuchNode"), "_meta": {"title": "The Source"}}, "2": save},
        "no output": {"1": empty_image()},
        "no inputs": {"1": {"class_type": "EmptyImage"}, "2": save},
        "required input missing": {"1": node("EmptyImage", width=8, height=8, batch_size=1), "2": save},
        "two inputs missing": {"1": node("EmptyImage", width=8, batch_size=1), "2": save},
        "required link missing": {"2": node("SaveImage", filename_prefix="refused/x")},
        "link of three": {"2": node("SaveImage", images=["1", 0, 0], filename_prefix="refused/x"), "1": empty_image()},
        "dangling link": {"2": save},
        "dangling link further up": {"1": node("ImageInvert", image=["9", 0]), "2": save},
        "no such slot": {"1": empty_image(), "2": node("SaveImage", images=["1", 3], filename_prefix="refused/x")},
        "wrong type": {"1": node("EmptyLatentImage", width=64, height=64, batch_size=1), "2": save},
        "not an int": {"1": empty_image(width="wide"), "2": save},
        "null": {"1": empty_image(width=None), "2": save},
        "an object": {"1": empty_image(width={"w": 1}), "2": save},
        "too small": {"1": empty_image(width=0), "2": save},
        "too large": {"1": empty_image(batch_size=1_000_000), "2": save},
        "not a choice": {
            "1": empty_image(),
            "3": node("ImageScale", image=["1", 0], upscale_method="magic", width=8, height=8, crop="disabled"),
            "2": node("SaveImage", images=["3", 0], filename_prefix="refused/x"),
        },
        "not a choice, newer form": {
            "1": empty_image(),
            "3": node("ImageBlend", image1=["1", 0], image2=["1", 0], blend_factor=0.5, blend_mode="magic"),
            "2": node("SaveImage", images=["3", 0], filename_prefix="refused/x"),
        },
        "not a choice of many": sampled("refused/x", 1, sampler_name="magic"),
        "cycle": {
            "1": node("ImageInvert", image=["3", 0]),
            "3": node("ImageInvert", image=["1", 0]),
            "2": save,
        },
        "no such image": {"1": node("LoadImage", image="absent.png"), "2": save},
        "image outside": {"1": node("LoadImage", image="../../../etc/passwd"), "2": save},
        "two outputs of one bad node": {
            "1": empty_image(width=0),
            "2": save,
            "3": node("PreviewImage", images=["1", 0]),
        },
    }
    for name, prompt in bad.items():
        if name == "cycle" and driver.version == "0.3.64":
            continue  # its recursion ends in an exception whose text depends on the interpreter
        await driver.http("POST", "/prompt", note=name, body={"prompt": prompt})
    await driver.http("POST", "/prompt", note="no prompt", body={})
    await driver.http("POST", "/prompt", note="not JSON", data=b"{", headers={"Content-Type": "application/json"})
    await driver.http("GET", "/queue")


@scenario
async def one_bad_output(driver: Driver) -> None:
    """The good output is executed, the bad one reported with a 200."""
    await driver.connect("a", "a")
    graph = {
        "1": empty_image(7),
        "4": node("SaveImage", images=["1", 0], filename_prefix="onebad/x"),
        "2": empty_image(width=0),
        "5": node("SaveImage", images=["2", 0], filename_prefix="onebad/y"),
    }
    await driver.run(graph)


@scenario
async def converted_values(driver: Driver) -> None:
    """Widgets are converted to their types, and history shows what they became."""
    await driver.connect("a", "a")
    graph = {
        "1": empty_image(8, width="32", height=16.9),
        "4": node("SaveImage", images=["1", 0], filename_prefix={"__value__": "converted/x"}),
        "2": node("PrimitiveString", value=5),
        "5": node("PreviewAny", source=["2", 0]),
    }
    await driver.run(graph)


@scenario
async def failing_node(driver: Driver) -> None:
    """A node that raises, alone and after another output was made."""
    await driver.connect("a", "a")
    await driver.run(trivial_graph(9, "../outside/x"))
    await driver.http("POST", "/upload/image", data=upload_form(b"not a picture", "broken.png"))
    broken = {"1": node("LoadImage", image="broken.png"), "2": node("PreviewImage", images=["1", 0])}
    await driver.run(broken)


@scenario
async def prompt_ids(driver: Driver) -> None:
    """Which ids a client may give."""
    await driver.connect("a", "a")
    given = str(uuid.uuid4())
    assert await driver.run(trivial_graph(10, "ids/x"), prompt_id=given) == given
    await driver.run(trivial_graph(11, "ids/x"), prompt_id=given)
    for name, wrong in (
        ("upper case", given.upper()),
        ("no hyphens", given.replace("-", "")),
        ("a word", "mine"),
        ("a number", 5),
        ("null", None),
    ):
        body = {"prompt": trivial_graph(12, "ids/y"), "prompt_id": wrong, "client_id": "a"}
        answer = await driver.http("POST", "/prompt", note=name, body=body)
        if "prompt_id" in answer:
            await driver.hear("a", ends(answer["prompt_id"]), drop=CHANCE)


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
async def input_images(driver: Driver) -> None:
    """LoadImage runs again when its file has changed, and only then."""
    await driver.connect("a", "a")
    graph = {
        "1": node("LoadImage", image="in.png"),
        "2": node("ImageScale", image=["1", 0], upscale_method="nearest-exact", width=4, height=4, crop="disabled"),
        "4": node("SaveImage", images=["2", 0], filename_prefix="inputs/x"),
        "3": node("MaskToImage", mask=["1", 1]),
        "5": node("PreviewImage", images=["3", 0]),
    }
    await driver.http("POST", "/upload/image", data=upload_form(png("#00ff0000", mode="RGBA"), "in.png", overwrite="1"))
    await driver.run(graph)
    await driver.run(graph)
    await driver.http("POST", "/upload/image", data=upload_form(png("#0000ff"), "in.png", overwrite="1"))
    await driver.run(graph)
    await driver.http("GET", "/view?filename=x_00001_.png&subfolder=inputs")
    await driver.http("GET", "/view?filename=x_00002_.png&subfolder=inputs")


@scenario
async def image_nodes(driver: Driver) -> None:
    """Pictures whose every pixel is known."""
    await driver.connect("a", "a")
    graph = {
        "1": empty_image(0x204060),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
        "4": node("ImageScaleBy", image=["3", 0], upscale_method="nearest-exact", scale_by=1.5),
        "5": node("ImageCrop", image=["4", 0], width=20, height=100, x=8, y=4),
        "10": node("SaveImage", images=["5", 0], filename_prefix="nodes/x"),
        "7": node("SolidMask", value=1.0, width=8, height=8),
        "8": node("MaskToImage", mask=["7", 0]),
        "9": node("ImageBlend", image1=["1", 0], image2=["8", 0], blend_factor=1.0, blend_mode="normal"),
        "11": node("SaveImage", images=["9", 0], filename_prefix="nodes/y"),
    }
    await driver.run(graph, drop=CHANCE | {"executing", "executed"})
    for name in ("x_00001_", "x_00002_", "y_00001_"):
        await driver.http("GET", f"/view?filename={name}.png&subfolder=nodes")


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
async def sampling(driver: Driver) -> None:
    """A model: progress, then the same with previews, with and without metadata."""
    await driver.connect("a", "a")
    await driver.run(sampled("sampling/x", 2))
    await driver.run(sampled("sampling/x", 2, seed=2), extra_data={"preview_method": "latent2rgb"})
    await driver.connect("flagged", "flagged")
    await driver.say("flagged", {"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    await driver.hear("flagged", lambda message: message["type"] == "feature_flags")
    await driver.run(sampled("sampling/x", 2, seed=3), client="flagged", extra_data={"preview_method": "latent2rgb"})
    await driver.http("GET", "/view?filename=x_00001_.png&subfolder=sampling")


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


@scenario
async def kinds_of_outputs_without_pictures(driver: Driver) -> None:
    """Sound and clips."""
    await driver.connect("a", "a")
    audio = {"1": node("EmptyAudio", duration=0.5, sample_rate=44100, channels=2)}
    await driver.run({**audio, "2": node("SaveAudio", audio=["1", 0], filename_prefix="audio/x")}, drop=CHANCE)
    clip = node("SaveWEBM", images=["1", 0], filename_prefix="clip/x", codec="vp9", fps=4.0, crf=32.0)
    await driver.run({"1": empty_image(1, width=64, height=64, batch_size=2), "2": clip}, drop=CHANCE)


@scenario
async def idle_interrupt(driver: Driver) -> None:
    """One that comes when nothing runs is forgotten with the next prompt."""
    await driver.connect("a", "a")
    await driver.http("POST", "/interrupt", body={})
    await driver.run(trivial_graph(70, "idle/x"))


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
async def model_nodes(driver: Driver) -> None:
    """Pictures to latents, scaled, masked, sampled in several ways, and back; the sizes tell."""
    await driver.connect("a", "a")
    sampler = {"cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "positive": ["6", 0], "negative": ["7", 0]}
    graph = {
        "4": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "6": node("CLIPTextEncode", text="a lighthouse", clip=["4", 1]),
        "7": node("ConditioningZeroOut", conditioning=["6", 0]),
        "1": empty_image(71, width=32, height=40),
        "2": node("SolidMask", value=0.5, width=32, height=40),
        "3": node("VAEEncode", pixels=["1", 0], vae=["4", 2]),
        "8": node("RepeatLatentBatch", samples=["3", 0], amount=2),
        "9": node("SetLatentNoiseMask", samples=["8", 0], mask=["2", 0]),
        "12": node("KSampler", model=["4", 0], seed=1, steps=2, denoise=0.5, latent_image=["9", 0], **sampler),
        "13": node("LatentUpscaleBy", samples=["12", 0], upscale_method="bilinear", scale_by=1.5),
        "14": node(
            "KSamplerAdvanced",
            model=["4", 0],
            add_noise="enable",
            noise_seed=1,
            steps=4,
            start_at_step=2,
            end_at_step=3,
            return_with_leftover_noise="disable",
            latent_image=["13", 0],
            **sampler,
        ),
        "15": node("LatentUpscale", samples=["14", 0], upscale_method="bislerp", width=0, height=72, crop="disabled"),
        "16": node("BasicScheduler", model=["4", 0], scheduler="simple", steps=2, denoise=1.0),
        "17": node("BasicGuider", model=["4", 0], conditioning=["6", 0]),
        "18": node("KSamplerSelect", sampler_name="euler"),
        "19": node("RandomNoise", noise_seed=3),
        "20": node(
            "SamplerCustomAdvanced",
            noise=["19", 0],
            guider=["17", 0],
            sampler=["18", 0],
            sigmas=["16", 0],
            latent_image=["15", 0],
        ),
        "21": node("VAEDecode", samples=["20", 1], vae=["4", 2]),
        "22": node("SaveImage", images=["21", 0], filename_prefix="models/x"),
    }
    await driver.run(graph, drop=CHANCE - {"progress"})
    await driver.http("GET", "/view?filename=x_00001_.png&subfolder=models")
    await driver.http("GET", "/view?filename=x_00002_.png&subfolder=models")
