"""`demo`: the main job end to end on a machine with nothing: two simulated ComfyUIs, real jobs over HTTP, pictures."""

from __future__ import annotations

import asyncio
import re
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import orchestrator
from orchestrator.cli.children import simulated_comfyuis
from orchestrator.cli.client import FleetClient
from orchestrator.cli.console import emit_table, err, out, seconds
from orchestrator.cli.errors import FAILED
from orchestrator.cli.follow import Job, follow
from orchestrator.cli.jobs import worker_of
from orchestrator.cli.run import save_outputs
from orchestrator.cli.serve import with_workers
from orchestrator.errors import FleetError, InvalidRequest
from orchestrator.settings import LogSettings, RedisSettings, Settings, StorageSettings, load
from orchestrator.telemetry import logs

OUTPUT = Path("demo-output")
WORKERS = 2
READY_TIMEOUT_S = 30.0
WORKFLOWS = Path(orchestrator.__file__).parent.parent / "workflows"

# A model each, then both in turn: a fleet that did not look at what is loaded where would load both on both workers.
FIRST = (
    ("sd15-txt2img", {"prompt": "a lighthouse on a cliff at dusk", "seed": 1}),
    ("sdxl-base-refiner", {"prompt": "a fox in the snow, studio light", "seed": 2}),
)
THEN = (
    ("sdxl-base-refiner", {"prompt": "a greenhouse full of orchids", "seed": 3}),
    ("sd15-txt2img", {"prompt": "a harbour in the morning fog", "seed": 4}),
    ("sdxl-base-refiner", {"prompt": "a canyon under the milky way", "seed": 5}),
    ("sd15-txt2img", {"prompt": "an old tram in the rain", "seed": 6}),
)


def demo(
    stay: Annotated[bool, typer.Option("--stay", help="Keep the fleet up afterwards, to play with.")] = False,
) -> None:
    """Show the main job: a fleet with two simulated ComfyUIs, real jobs over HTTP, pictures in demo-output/."""
    if not WORKFLOWS.is_dir():
        raise InvalidRequest(
            "no_workflows", f"the demo needs the workflows of the repository, and {WORKFLOWS} is absent"
        )
    logs.configure(LogSettings(format="text", level="warning"))
    try:
        asyncio.run(_main(stay))
    except asyncio.CancelledError:
        raise typer.Exit(130) from None


async def _main(stay: bool) -> None:
    from orchestrator import build

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    data = Path("data").resolve()
    data.mkdir(exist_ok=True)
    stop = asyncio.Event()
    base: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with tempfile.TemporaryDirectory(prefix="demo-", dir=data) as folder:
        err.print(f"starting a fleet: Redis, a controller, an agent and {WORKERS} simulated ComfyUIs", style="dim")
        async with simulated_comfyuis(WORKERS) as urls, asyncio.TaskGroup() as group:
            settings = _settings(Path(folder), stay, urls)
            group.create_task(build.up(settings, stop, base.set_result))
            succeeded = await _show(await base)
            if stay:
                out.print(f"\nstays up at {await base}: see {await base}/docs, comfyfleet jobs; Ctrl-C ends it")
                await asyncio.Event().wait()
            stop.set()
    if not succeeded:
        raise typer.Exit(FAILED)


def _settings(data_dir: Path, stay: bool, urls: list[str]) -> Settings:
    """The defaults, whatever the environment says of another fleet; on its usual port only when it stays."""
    ours = {
        "listen": Settings.model_fields["listen"].default if stay else "127.0.0.1:0",
        "data_dir": data_dir, "workflows": WORKFLOWS, "workers": (),
        "redis": RedisSettings(), "storage": StorageSettings(),
    }  # fmt: skip
    return with_workers(load(None).model_copy(update=ours), urls)


async def _show(url: str) -> bool:
    """Runs the jobs and prints what came of them; False when one failed."""
    async with FleetClient(url) as fleet:
        await _workers_ready(fleet)
        jobs = await _run(fleet, [("hello", {"width": 512, "height": 384})], 1)
        picture = await fleet.upload(Path(jobs[0]["outputs"][0]["saved"]))
        for requests in ([("image-invert", {"image": picture["id"]})], FIRST, THEN):
            jobs += await _run(fleet, requests, len(jobs) + 1)
        emit_table(("picture", "worker", "seconds", "the worker"), map(_row, jobs), empty="no jobs")
        await _print_residency(fleet)
    return all(job["status"] == "succeeded" for job in jobs)


async def _workers_ready(fleet: FleetClient) -> None:
    deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
    while True:
        workers = (await fleet.get("/v1/workers"))["workers"]
        if sum(worker["state"] == "ready" for worker in workers) == WORKERS:
            return
        if asyncio.get_running_loop().time() > deadline:
            states = ", ".join(f"{worker['id']} is {worker['note'] or worker['state']}" for worker in workers)
            raise FleetError("not_ready", f"not ready after {READY_TIMEOUT_S:.0f} s: {states or 'no worker came'}")
        await asyncio.sleep(0.05)


async def _run(fleet: FleetClient, requests: Sequence[tuple[str, dict[str, Any]]], first: int) -> list[Job]:
    """Submits the jobs at once, and follows them to their end."""
    jobs = [await fleet.post(f"/v1/workflows/{name}/jobs", {"params": params}) for name, params in requests]
    stems = {job["id"]: f"{number}-{job['workflow']}" for number, job in enumerate(jobs, first)}
    return await follow(
        fleet, jobs, lambda job: save_outputs(fleet, job, OUTPUT, stems[job["id"]]), lambda job: stems[job["id"]]
    )


def _row(job: Job) -> tuple[Any, ...]:
    why = job["runs"][-1]["placement"].get("why", "-")
    picture = Path(job["outputs"][0]["saved"]).name if job["outputs"] else job["status"]
    return picture, worker_of(job), seconds(job["timings"]["total"]), re.split("[:;]", why)[0]


async def _print_residency(fleet: FleetClient) -> None:
    """What routing came to: each model on one worker."""
    for worker in (await fleet.get("/v1/residency"))["workers"]:
        names = ", ".join(model["name"] for model in worker["vram"]) or "no model"
        out.print(f"{worker['worker']} holds {names}")
    out.print(f"the pictures are in {OUTPUT}/, painted by the simulator from prompt and seed: no model ran")
