"""What scenarios are made of: the list they register in, graphs, uploads."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from PIL import Image

from tests.contract.driver import Driver

Json = Any
Scenario = Callable[[Driver], Awaitable[None]]

SCENARIOS: dict[str, Scenario] = {}

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
