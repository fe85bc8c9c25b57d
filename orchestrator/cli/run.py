"""`run` and `submit`: send work to a fleet, watch it, and bring the outputs home."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from orchestrator.cli.client import FleetClient
from orchestrator.cli.console import dollars, emit_json, emit_table, err, seconds, status_text
from orchestrator.cli.errors import FAILED
from orchestrator.cli.follow import Job, follow
from orchestrator.cli.jobs import worker_of
from orchestrator.cli.options import DEFAULT_URL, AsJson, OutputFolder, Url
from orchestrator.cli.params import check_known, split_pairs, typed_params
from orchestrator.controller.documents import read_json
from orchestrator.errors import InvalidRequest

SUBMITS_AT_ONCE = 32

Params = Annotated[list[str] | None, typer.Option("-p", "--param", metavar="KEY=VALUE", help="Set a param.")]
Files = Annotated[
    list[str] | None, typer.Option("-f", "--file", metavar="KEY=FILE", help="Upload a file, and set a param to it.")
]
Count = Annotated[
    int, typer.Option("-n", "--count", min=1, max=10_000, help="How many jobs; each draws a seed of its own.")
]


def run(
    workflow: Annotated[str, typer.Argument(help="The workflow's name; comfyfleet workflows lists them.")],
    param: Params = None,
    file: Files = None,
    count: Count = 1,
    output: OutputFolder = Path("outputs"),
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Run a workflow: submit, show progress, save the outputs."""
    texts, files = split_pairs("-p", param or ()), split_pairs("-f", file or ())
    if both := texts.keys() & files.keys():
        raise InvalidRequest("bad_option", f"{both.pop()} is given with -p and with -f; keep one")

    async def main() -> list[Job]:
        async with FleetClient(url) as fleet:
            schema = await fleet.get(f"/v1/workflows/{workflow}/schema")
            check_known(schema, files)
            params = typed_params(schema, texts) | {key: await _upload(fleet, path) for key, path in files.items()}
            return await _carry_out(fleet, f"/v1/workflows/{workflow}/jobs", {"params": params}, count, output)

    _report(asyncio.run(main()), output, as_json)


def submit(
    graph: Annotated[Path, typer.Argument(metavar="GRAPH.json", help="A graph in API format, or in typed nodes.")],
    count: Count = 1,
    output: OutputFolder = Path("outputs"),
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Run a raw graph: submit, show progress, save the outputs."""
    document = read_json(graph).value

    async def main() -> list[Job]:
        async with FleetClient(url) as fleet:
            return await _carry_out(fleet, "/v1/jobs", {"workflow": document}, count, output)

    _report(asyncio.run(main()), output, as_json)


async def save_outputs(fleet: FleetClient, job: Job, folder: Path, stem: str) -> list[Path]:
    """Saves a job's outputs as STEM.png, or STEM-0.png, STEM-1.mp4 and so on where it has several."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    saved: list[Path] = []
    for n, output in enumerate(job["outputs"]):
        number = f"-{n}" if len(job["outputs"]) > 1 else ""
        path = folder / f"{stem}{number}{PurePosixPath(output['name']).suffix}"
        await fleet.download(output["url"], path)
        output["saved"] = str(path)
        saved.append(path)
    return saved


async def _upload(fleet: FleetClient, path: str) -> str:
    return (await fleet.upload(Path(path)))["id"]


async def _carry_out(fleet: FleetClient, path: str, body: Any, count: int, folder: Path) -> list[Job]:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)  # before anything is run for it
    turn = asyncio.Semaphore(SUBMITS_AT_ONCE)

    async def send() -> Job:
        async with turn:
            return await fleet.post(path, body)

    async with asyncio.TaskGroup() as group:
        sent = [group.create_task(send()) for _ in range(count)]
    jobs = [task.result() for task in sent]
    try:
        return await follow(fleet, jobs, lambda job: save_outputs(fleet, job, folder, _stem(job)))
    except asyncio.CancelledError:
        err.print(f"stopped watching; {_named(jobs)}: see comfyfleet job ID, stop it with comfyfleet cancel ID")
        raise


def _stem(job: Job) -> str:
    """A name that no other job's outputs have: the end of an id is what differs."""
    return f"{job['workflow'] or 'graph'}-{job['id'][-12:]}"


def _named(jobs: Sequence[Job]) -> str:
    return f"job {jobs[0]['id']} goes on" if len(jobs) == 1 else f"{len(jobs)} jobs go on"


def _report(jobs: Sequence[Job], folder: Path, as_json: bool) -> None:
    if as_json:
        emit_json(jobs[0] if len(jobs) == 1 else jobs)
    else:
        emit_table(("job", "status", "worker", "seconds", "cost", "saved"), map(_row, jobs), empty="no jobs")
    failed = [job for job in jobs if job["status"] != "succeeded"]
    for message in _reasons(failed):
        err.print(message, style="red")
    if failed:
        raise typer.Exit(FAILED)


def _row(job: Job) -> tuple[Any, ...]:
    files = [output["saved"] for output in job["outputs"] if "saved" in output]
    return (
        job["id"], status_text(job["status"]), worker_of(job), seconds(job["timings"]["total"]), dollars(job["cost"]),
        "\n".join(files) or "-",
    )  # fmt: skip


def _reasons(failed: Iterable[Job]) -> Iterable[str]:
    for job in failed:
        yield f"job {job['id']} {job['status']}" + (f": {job['error']['message']}" if job["error"] else "")
