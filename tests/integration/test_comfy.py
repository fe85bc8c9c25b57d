"""The client and the stream against simulated ComfyUIs of both generations, and against what is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, web

from orchestrator.comfy import client as client_module
from orchestrator.comfy.answers import FileOutput, Queue
from orchestrator.comfy.client import ComfyClient
from orchestrator.comfy.protocol import Event, Executing, ExecutionStart, FeatureFlags, Preview, ProgressState, Unknown
from orchestrator.comfy.stream import Connected, Disconnected, Heard, Stream
from orchestrator.errors import NotFound, Permanent, Retryable, WorkerFault
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import Wire, eventually, new_id, node, picture, sampled

VERSIONS = pytest.mark.parametrize("version", ["0.33.0", "0.3.64"])
Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that answers everything with one handler."""
    runners: list[web.AppRunner] = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def finished(client: ComfyClient, prompt_id: str) -> Any:
    return await eventually(lambda: client.history(prompt_id), f"{prompt_id} to be over")


async def text(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


# --- prompts ---


@VERSIONS
async def test_a_prompt_through_queue_and_history(sim_comfyui: StartSim, version: str) -> None:
    sim = await sim_comfyui(version=version)
    run_id = new_id()
    async with ComfyClient(sim.url) as client:
        assert await client.history(run_id) is None
        await client.prompt(picture(), run_id, "someone")
        entry = await finished(client, run_id)
        assert entry.succeeded
        assert entry.targets == ("2",)
        assert await client.queue() == Queue((), ())
        (output,) = entry.outputs
        async with aclosing(client.view(output)) as chunks:
            assert (await anext(chunks)).startswith(b"\x89PNG")
        await client.delete_history([run_id, "unknown"])
        assert await client.history(run_id) is None


@VERSIONS
async def test_refusals_say_what_is_missing(sim_comfyui: StartSim, version: str) -> None:
    sim = await sim_comfyui(version=version, models={})
    async with ComfyClient(sim.url) as client:
        with pytest.raises(Retryable, match="no node class Nope") as unknown:
            await client.prompt({"1": node("Nope")}, new_id(), None)
        assert unknown.value.code == "missing_class"
        with pytest.raises(Retryable, match="no model file v1-5") as absent:
            await client.prompt(sampled(1), new_id(), None)
        assert absent.value.code == "missing_model"
        with pytest.raises(Permanent) as invalid:
            await client.prompt({"1": node("SaveImage", filename_prefix="x")}, new_id(), None)
        assert invalid.value.details["node_id"] == "1"
        assert "1" in invalid.value.details["node_errors"]


async def test_a_graph_that_is_taken_in_part_is_refused(sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with ComfyClient(sim.url) as client:
        with pytest.raises(Permanent) as refused:
            await client.prompt(picture() | {"3": node("PreviewImage")}, new_id(), None)
        assert refused.value.details["node_id"] == "3"


@VERSIONS
async def test_cancel_stops_that_prompt_and_no_other(sim_comfyui: StartSim, version: str) -> None:
    sim = await sim_comfyui(version=version, step_seconds=0.02)
    running, waiting, last = new_id(), new_id(), new_id()
    async with ComfyClient(sim.url) as client:
        for seed, run_id in enumerate((running, waiting, last)):
            await client.prompt(sampled(500 if run_id == running else 2, seed), run_id, None)

        async def begun() -> bool:
            return running in (await client.queue()).running

        await eventually(begun, "the first to run")
        await client.cancel(waiting)
        await client.cancel("unknown")
        queue = await client.queue()
        assert waiting not in queue
        assert running in queue

        async def stopped() -> bool:
            await client.cancel(running)
            return running not in await client.queue()

        await eventually(stopped, "the running one to stop")
        assert (await finished(client, running)).interrupted
        assert (await finished(client, last)).succeeded


# --- files ---


async def test_upload_puts_the_file_over_one_of_its_name(sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with ComfyClient(sim.url) as client:
        for content in (b"first", b"second"):
            await client.upload("a.bin", text(content[:2], content[2:]))
        assert (sim.directory / "input" / "a.bin").read_bytes() == b"second"


async def test_a_file_that_is_not_there(sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    async with ComfyClient(sim.url) as client:
        with pytest.raises(NotFound) as missing:
            async with aclosing(client.view(FileOutput("1", "images", "no&such?.png", "a/b", "output"))) as chunks:
                await anext(chunks)
        assert missing.value.code == "output_missing"


# --- what it is and has ---


@VERSIONS
async def test_what_it_is_and_has(sim_comfyui: StartSim, version: str) -> None:
    sim = await sim_comfyui(version=version)
    async with ComfyClient(sim.url) as client:
        stats = await client.system_stats()
        assert (stats.version, stats.vram_bytes) == (version, 24 * 1024**3)
        assert await client.upload_limit() == 100 << 20
        assert (await client.model_sizes())["loras/detail_tweaker_lora.safetensors"] == 37_000_000
        assert b'"KSampler"' in await client.object_info()
        await client.free()


async def test_versions_that_tell_no_sizes_and_no_limit(serve: Serve) -> None:
    async def old(request: web.Request) -> web.Response:
        if request.path == "/models":
            return web.json_response(["checkpoints", "configs"])
        return web.Response(status=404)

    async with ComfyClient(await serve(old)) as client:
        assert await client.model_sizes() == {}
        assert await client.upload_limit() == 100 << 20


# --- what goes wrong ---


async def test_what_no_json_may_hold_ends_here(serve: Serve) -> None:
    """A node's error quotes a file name that is not Unicode, and numbers of any size."""
    error = (
        r"""{"node_id": "1", "exception_message": "no file caf\udce9.png", "traceback": [], "current": [NaN, 1e999, 9"""
    )
    error += "0" * 400 + "]}"
    status = f'{{"status_str": "error", "messages": [["execution_error", {error}]]}}'

    async def failed(request: web.Request) -> web.Response:
        return web.Response(body=f'{{"x": {{"status": {status}, "outputs": {{}}}}}}'.encode())

    async with ComfyClient(await serve(failed)) as client:
        entry = await client.history("x")
    assert entry is not None and entry.failure is not None
    assert entry.failure.message == "no file caf?.png"


async def test_nobody_there() -> None:
    async with ComfyClient("http://127.0.0.1:9") as client:
        with pytest.raises(WorkerFault, match="is ComfyUI running there") as refused:
            await client.queue()
        assert refused.value.code == "comfyui_refused"


async def test_no_answer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(client_module, "_QUICK", ClientTimeout(total=0.05))
    async with ComfyClient(await serve(hang)) as client:
        with pytest.raises(WorkerFault) as slow:
            await client.system_stats()
        assert slow.value.code == "comfyui_timeout"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (web.Response(status=500, text="Internal Server Error"), "answered 500: Internal Server Error"),
        (web.Response(status=302, headers={"Location": "/login"}), "answered 302"),
        (web.Response(text="<html>"), "is the URL right?"),
        (web.json_response([1]), "is the URL right?"),
    ],
)
async def test_no_comfyui(serve: Serve, answer: web.Response, said: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        return answer

    async with ComfyClient(await serve(handler)) as client:
        with pytest.raises(WorkerFault) as broken:
            await client.queue()
        assert broken.value.code == "comfyui_broken"
        assert said in broken.value.message


async def test_an_answer_without_end_is_not_read_to_its_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    monkeypatch.setattr(client_module, "JSON_MAX", 1 << 20)
    async with ComfyClient(await serve(endless)) as client:
        with pytest.raises(WorkerFault, match="more than"):
            await client.history("x")


async def test_numbers_that_json_has_not_are_read_all_the_same(serve: Serve) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text='{"x": {"outputs": {}, "status": {"messages": [["a", {"b": NaN}]]}, "prompt": []}}')

    async with ComfyClient(await serve(handler)) as client:
        entry = await client.history("x")
        assert entry is not None
        assert entry.succeeded


async def test_a_body_that_is_too_large(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=413)

    async with ComfyClient(await serve(handler)) as client:
        with pytest.raises(Retryable, match="--max-upload-size"):
            await client.prompt(picture(), new_id(), None)
        with pytest.raises(Retryable, match="--max-upload-size"):
            await client.upload("a.png", text(b"x"))


# --- the stream ---


@VERSIONS
async def test_events_of_what_was_posted_with_its_client_id(sim_comfyui: StartSim, version: str) -> None:
    sim = await sim_comfyui(version=version)
    run_id = new_id()
    heard: list[Event] = []
    async with ComfyClient(sim.url) as client, aclosing(aiter(Stream(sim.url))) as events:
        async for message in events:
            event = message.event if isinstance(message, Heard) else message
            if isinstance(event, Connected):
                await client.prompt(sampled(8), run_id, event.client_id)
            elif isinstance(event, Event):
                heard.append(event)
            if event == Executing(run_id, None):
                break
        assert await client.history(run_id) is not None
    assert any(isinstance(event, FeatureFlags) for event in heard)
    assert ExecutionStart(run_id) in heard
    assert any(isinstance(event, ProgressState) for event in heard)
    assert not any(isinstance(event, Unknown) for event in heard)


async def test_previews_name_their_run_and_node(sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    run_id = new_id()
    async with aclosing(aiter(Stream(sim.url))) as events, ClientSession() as http:
        async for message in events:
            event = message.event if isinstance(message, Heard) else message
            if isinstance(event, Connected):
                extra = {"preview_method": "latent2rgb"}
                body = {"prompt": sampled(8), "prompt_id": run_id, "client_id": event.client_id, "extra_data": extra}
                await http.post(f"{sim.url}/prompt", json=body)
            assert event != Executing(run_id, None), "no preview came"
            if isinstance(event, Preview):
                break
    assert (event.prompt_id, event.node, event.content_type) == (run_id, "3", "image/jpeg")
    assert event.image.startswith(b"\xff\xd8")


async def test_a_cut_connection_is_made_again_under_another_id(sim_comfyui: StartSim) -> None:
    sim = await sim_comfyui()
    said: list[Connected | Disconnected] = []
    async with Wire(sim.url) as wire, aclosing(aiter(Stream(wire.url))) as events:
        async for event in events:
            if isinstance(event, Connected | Disconnected):
                said.append(event)
            if isinstance(event, Heard) and isinstance(event.event, FeatureFlags):
                if len(said) == 3:
                    break
                wire.cut()
    first, cut, second = said
    assert isinstance(cut, Disconnected)
    assert isinstance(first, Connected)
    assert isinstance(second, Connected)
    assert first.client_id != second.client_id
