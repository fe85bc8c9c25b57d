"""What the simulated ComfyUI has beyond transcripts: models with sizes, steps that take time, a process that ends."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from PIL import Image

from orchestrator.simulator.comfyui import RunningSim
from tests.contract.scenario import empty_image, node
from tests.fixtures.comfyui import SimProcess

Json = Any
StartSim = Callable[..., Awaitable[RunningSim]]
StartSimProcess = Callable[..., Awaitable[SimProcess]]

MODELS = {
    "checkpoints": {"a.safetensors": 1000, "b.safetensors": 1000},
    "loras": {"l.safetensors": 10},
    "controlnet": {"c.safetensors": 100},
}


class Client:
    """Submits graphs and waits for their history."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str, **query: str) -> Json:
        async with self._session.get(path, params=query) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else await answer.read()

    async def post(self, path: str, body: Json) -> Json:
        async with self._session.post(path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else None

    async def submit(self, prompt: Json) -> str:
        return (await self.post("/prompt", {"prompt": prompt, "client_id": "test"}))["prompt_id"]

    async def run(self, prompt: Json) -> Json:
        """The history entry."""
        async with self._session.ws_connect("/ws?clientId=test") as socket:
            prompt_id = await self.submit(prompt)
            async with asyncio.timeout(10):
                async for message in socket:
                    said = message.json()
                    if said["type"] == "executing" and said["data"]["node"] is None:
                        break
        return (await self.get(f"/history/{prompt_id}"))[prompt_id]

    async def picture(self, prompt: Json) -> Image.Image:
        (shown,) = [entry for output in (await self.run(prompt))["outputs"].values() for entry in output["images"]]
        return Image.open(io.BytesIO(await self.get("/view", **shown)))

    async def loads(self) -> Json:
        return await self.get("/simulator/loads")


Connect = Callable[[str], Awaitable[Client]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    sessions: list[aiohttp.ClientSession] = []

    async def to(url: str) -> Client:
        sessions.append(aiohttp.ClientSession(url))
        return Client(sessions[-1])

    yield to
    for session in sessions:
        await session.close()


def sampled(checkpoint: str = "a.safetensors", text: str = "a cat", **sampler: Json) -> Json:
    settings = {"seed": 1, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "2": node("CLIPTextEncode", text=text, clip=["1", 1]),
        "3": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "4": node("KSampler", **{**settings, **links, **sampler}),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "6": node("SaveImage", images=["5", 0], filename_prefix="x"),
    }


async def test_a_model_is_read_once_while_prompts_name_it(sim_comfyui: StartSim, connect: Connect) -> None:
    sim = await sim_comfyui(models=MODELS)
    client = await connect(sim.url)
    for seed in range(3):
        await client.run(sampled(seed=seed))
    assert sim.loads == {"checkpoints/a.safetensors": 1}
    for checkpoint in ("b.safetensors", "a.safetensors"):
        await client.run(sampled(checkpoint))
    assert sim.loads == {"checkpoints/a.safetensors": 2, "checkpoints/b.safetensors": 1}


async def test_plenty_of_ram_keeps_models_between_prompts(sim_comfyui: StartSim, connect: Connect) -> None:
    sim = await sim_comfyui(models=MODELS, ram_bytes=2**40)
    client = await connect(sim.url)
    for checkpoint in ("a.safetensors", "b.safetensors") * 3:
        await client.run(sampled(checkpoint))
    assert sim.loads == {"checkpoints/a.safetensors": 1, "checkpoints/b.safetensors": 1}
    assert (await client.loads())["loads"]["checkpoints/a.safetensors"] == {"disk": 1, "vram": 3}  # its three parts


async def test_free_empties_memory(sim_comfyui: StartSim, connect: Connect) -> None:
    sim = await sim_comfyui(models=MODELS, vram_bytes=10_000)
    client = await connect(sim.url)
    await client.run(sampled())
    resident = ["checkpoints/a.safetensors"]
    assert {key: (await client.loads())[key] for key in ("vram", "ram")} == {"vram": resident, "ram": resident}
    device = (await client.get("/system_stats"))["devices"][0]
    assert (device["vram_total"], device["vram_free"]) == (10_000, 9_000)
    await client.post("/free", {"unload_models": True})
    await client.run({"1": empty_image(), "2": node("PreviewImage", images=["1", 0])})
    assert (await client.loads())["vram"] == []
    await client.run(sampled())
    await client.post("/free", {"free_memory": True})
    await client.run({"1": empty_image(), "2": node("PreviewImage", images=["1", 0])})
    loads = await client.loads()
    assert (loads["vram"], loads["ram"]) == ([], [])


async def test_pictures_depend_on_prompt_seed_and_models_alone(sim_comfyui: StartSim, connect: Connect) -> None:
    one, two = (
        await connect((await sim_comfyui(models=MODELS)).url),
        await connect((await sim_comfyui(models=MODELS)).url),
    )
    reference = (await one.picture(sampled())).tobytes()
    assert (await two.picture(sampled())).tobytes() == reference
    with_lora = sampled(model=["7", 0])
    with_lora["7"] = node("LoraLoaderModelOnly", model=["1", 0], lora_name="l.safetensors", strength_model=1.0)
    with_control = sampled(positive=["7", 0])
    with_control |= {
        "7": node("ControlNetApply", conditioning=["2", 0], control_net=["8", 0], image=["9", 0], strength=1.0),
        "8": node("ControlNetLoader", control_net_name="c.safetensors"),
        "9": empty_image(),
    }
    others = [sampled(seed=2), sampled(text="a dog"), sampled("b.safetensors"), with_lora, with_control]
    pictures = [(await one.picture(prompt)).tobytes() for prompt in others]
    assert len({reference, *pictures}) == 1 + len(others)


async def test_clips_and_meshes_are_shown_as_custom_nodes_do(sim_comfyui: StartSim, connect: Connect) -> None:
    client = await connect((await sim_comfyui()).url)
    settings = {"frame_rate": 4.0, "loop_count": 0, "format": "image/gif", "pingpong": True, "save_output": True}
    clip = await client.run(
        {
            "1": empty_image(1),
            "2": empty_image(2),
            "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
            "4": node("VHS_VideoCombine", images=["3", 0], filename_prefix="clips/x", **settings),
        }
    )
    gif = {"filename": "x_00001.gif", "subfolder": "clips", "type": "output"}
    assert clip["outputs"] == {"4": {"gifs": [gif | {"format": "image/gif", "frame_rate": 4.0}]}}
    assert Image.open(io.BytesIO(await client.get("/view", **gif))).format == "GIF"
    mesh = await client.run(
        {"1": node("SimMesh", name="cube"), "2": node("SaveGLB", mesh=["1", 0], filename_prefix="3d/x")}
    )
    glb = {"filename": "x_00001_.glb", "subfolder": "3d", "type": "output"}
    assert mesh["outputs"] == {"2": {"3d": [glb]}}
    assert (await client.get("/view", **glb)).startswith(b"glTF")


async def test_an_interrupt_is_seen_between_two_steps(sim_comfyui: StartSim, connect: Connect) -> None:
    sim = await sim_comfyui(models=MODELS, step_seconds=0.3)
    client = await connect(sim.url)
    async with aiohttp.ClientSession(sim.url) as session, session.ws_connect("/ws?clientId=test") as socket:
        prompt_id = await client.submit(sampled(steps=50))
        async for message in socket:
            if message.json()["type"] == "progress":
                break
        asked = time.perf_counter()
        await client.post("/interrupt", {"prompt_id": prompt_id})
        assert await client.get(f"/history/{prompt_id}") == {}
        async for message in socket:
            if message.json()["type"] == "execution_interrupted":
                break
    assert 0.1 < time.perf_counter() - asked < 2


async def test_http_answers_while_a_model_is_read(sim_comfyui: StartSim, connect: Connect) -> None:
    sim = await sim_comfyui(models=MODELS, disk_speed=1)
    client = await connect(sim.url)
    prompt_id = await client.submit(sampled())
    queue = await client.get("/queue")
    assert [item[1] for item in queue["queue_running"] + queue["queue_pending"]] == [prompt_id]
    stopping = time.perf_counter()
    await sim.stop()
    assert time.perf_counter() - stopping < 5


async def test_a_killed_process_is_gone_and_its_port_can_be_taken(
    sim_process: StartSimProcess, connect: Connect
) -> None:
    first = await sim_process(models=MODELS)
    port = int(first.url.rpartition(":")[2])
    assert (await (await connect(first.url)).get("/prompt"))["exec_info"] == {"queue_remaining": 0}
    await first.kill()
    second = await sim_process(models=MODELS, port=port)
    assert second.url == first.url
    assert second.pid != first.pid
    await second.stop()


async def test_a_process_ends_with_its_parent() -> None:
    """The parent dies of SIGKILL; the child notices that its stdin has ended."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    assert parent.stdout is not None
    assert (await parent.stdout.readline()).startswith(b"ready ")
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(10):
        assert await parent.stdout.read() == b""  # ends when the child, which shares it, has ended too


PARENT = """
import subprocess, sys
child = '''
import asyncio
from orchestrator.simulator.comfyui import SimConfig
from orchestrator.simulator.comfyui.main import serve
asyncio.run(serve(SimConfig(), port=0, exit_with_parent=True))
'''
subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE).wait()
"""
