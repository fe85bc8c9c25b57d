"""Prompts that run: what they say, what is cached, what comes out."""

from __future__ import annotations

import uuid

from tests.contract.driver import Driver
from tests.contract.scenario import (
    CHANCE,
    CHECKPOINT,
    empty_image,
    node,
    png,
    sampled,
    scenario,
    trivial_graph,
    upload_form,
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
async def kinds_of_outputs_without_pictures(driver: Driver) -> None:
    """Sound and clips."""
    await driver.connect("a", "a")
    audio = {"1": node("EmptyAudio", duration=0.5, sample_rate=44100, channels=2)}
    await driver.run({**audio, "2": node("SaveAudio", audio=["1", 0], filename_prefix="audio/x")}, drop=CHANCE)
    clip = node("SaveWEBM", images=["1", 0], filename_prefix="clip/x", codec="vp9", fps=4.0, crf=32.0)
    await driver.run({"1": empty_image(1, width=64, height=64, batch_size=2), "2": clip}, drop=CHANCE)


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


SAMPLER = {"cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "positive": ["6", 0], "negative": ["7", 0]}
MODEL_GRAPH = {
    "4": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
    "6": node("CLIPTextEncode", text="a lighthouse", clip=["4", 1]),
    "7": node("ConditioningZeroOut", conditioning=["6", 0]),
    "1": empty_image(71, width=32, height=40),
    "2": node("SolidMask", value=0.5, width=32, height=40),
    "3": node("VAEEncode", pixels=["1", 0], vae=["4", 2]),
    "8": node("RepeatLatentBatch", samples=["3", 0], amount=2),
    "9": node("SetLatentNoiseMask", samples=["8", 0], mask=["2", 0]),
    "12": node("KSampler", model=["4", 0], seed=1, steps=2, denoise=0.5, latent_image=["9", 0], **SAMPLER),
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
        **SAMPLER,
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


@scenario
async def model_nodes(driver: Driver) -> None:
    """Pictures to latents, scaled, masked, sampled in several ways, and back; the sizes tell."""
    await driver.connect("a", "a")
    await driver.run(MODEL_GRAPH, drop=CHANCE - {"progress"})
    await driver.http("GET", "/view?filename=x_00001_.png&subfolder=models")
    await driver.http("GET", "/view?filename=x_00002_.png&subfolder=models")
