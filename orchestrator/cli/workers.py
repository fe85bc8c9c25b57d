"""`workers`: what the fleet runs on, taking a worker out of service and back, and giving it a fresh ComfyUI."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli.client import ask
from orchestrator.cli.console import emit_json, emit_table, out, size, status_text
from orchestrator.cli.options import DEFAULT_URL, AsJson, Url

app = typer.Typer(help="List, drain, resume and recycle the workers, free their memory.", invoke_without_command=True)

WorkerId = Annotated[str, typer.Argument(metavar="ID", help="The worker's id; comfyfleet workers lists them.")]


@app.callback()
def workers(context: typer.Context, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Without a command: list them."""
    if context.invoked_subcommand is None:
        list_workers(url, as_json)


@app.command("list")
def list_workers(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the workers: state, ComfyUI version, device, what they execute and the models they hold."""
    listed = ask(url, "GET", "/v1/workers")
    if as_json:
        emit_json(listed)
        return
    held = {worker["worker"]: worker for worker in ask(url, "GET", "/v1/residency")["workers"]}
    emit_table(
        ("worker", "state", "pool", "ComfyUI", "device", "memory", "runs", "models held", "note"),
        (_row(worker, held.get(worker["id"])) for worker in listed["workers"]),
        empty="no workers: name your ComfyUIs under `workers:` in fleet.yaml, or try comfyfleet up --simulate 2",
    )


@app.command()
def show(worker_id: WorkerId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """What a worker went through lately, and why."""
    worker = ask(url, "GET", f"/v1/workers/{worker_id}")
    if as_json:
        emit_json(worker)
        return
    out.print(f"worker {worker['id']}: {worker['state']}, {worker['url'] or 'no ComfyUI'}", markup=False)
    if worker["lock"]:
        out.print(f"conforms to lock {worker['lock']}", markup=False, soft_wrap=True)
    emit_table(
        ("when", "state", "why"),
        ((change["at"], status_text(change["state"]), change["note"]) for change in worker["changes"]),
        empty=f"worker {worker_id}: nothing happened yet",
    )


@app.command()
def drain(worker_id: WorkerId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Finish what the worker has, give it nothing new."""
    _order(worker_id, "drain", url, as_json)


@app.command()
def resume(worker_id: WorkerId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Take a drained or quarantined worker into service again."""
    _order(worker_id, "resume", url, as_json)


@app.command()
def recycle(worker_id: WorkerId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Give a supervised worker a fresh ComfyUI, once what it executes is done."""
    _order(worker_id, "recycle", url, as_json)


@app.command()
def free(worker_id: WorkerId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Have the worker unload its models and free its memory."""
    _order(worker_id, "free", url, as_json)


def residency(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show which workers hold which models: in VRAM, in RAM, only on disk, or would fetch them."""
    held = ask(url, "GET", "/v1/residency")
    if as_json:
        emit_json(held)
        return
    emit_table(
        ("model", "size", "VRAM", "RAM", "disk only", "to fetch"),
        (
            (f"{model['folder']}/{model['name']}", size(model["size_bytes"]), *_holders(model))
            for model in held["models"]
        ),
        empty="no models: no worker told of any yet",
    )
    for worker in held["workers"]:
        why = f" ({worker['why']})" if worker["why"] else ""
        out.print(f"{worker['worker']}: {worker['source']}{why}", style="dim", markup=False)


def _holders(model: dict[str, Any]) -> tuple[str, ...]:
    return tuple("\n".join(model[tier]) for tier in ("vram", "ram", "disk", "remote"))


def _order(worker_id: str, order: str, url: str, as_json: bool) -> None:
    worker = ask(url, "POST", f"/v1/workers/{worker_id}/{order}")
    if as_json:
        emit_json(worker)
    else:
        out.print(f"worker {worker['id']}: {worker['state']}")


def _row(worker: dict[str, Any], held: dict[str, Any] | None) -> tuple[Any, ...]:
    models = [model["name"] for model in reversed(held["vram"])] if held else []
    device = (worker["device"] or "").partition(" : ")[0]  # without its allocator
    return (
        worker["id"], status_text(worker["state"]), worker["pool"], worker["comfyui_version"], device,
        size(worker["vram_bytes"]), str(len(worker["runs"])), "\n".join(models), worker["note"],
    )  # fmt: skip
