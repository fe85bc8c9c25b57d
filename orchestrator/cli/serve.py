"""`up`, `controller`, `agent` and `sim-worker`: what stays until it is stopped.

The first Ctrl-C (or SIGTERM) drains: what executes is finished, what waits is given back. The second one stops at once;
nothing is lost by that either, as the next start takes up what this one leaves.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from orchestrator.cli.children import simulated_comfyuis
from orchestrator.cli.errors import FAILED, foreseen
from orchestrator.cli.options import Config, config_path
from orchestrator.errors import InvalidRequest
from orchestrator.settings import AttachedWorker, Settings, load
from orchestrator.telemetry import logs

log = logging.getLogger(__name__)

OPEN_FILES = 65_536
YOUNG_OBJECTS = 20_000

Simulate = Annotated[int, typer.Option("--simulate", min=0, metavar="N", help="Also start N simulated ComfyUIs.")]
LogFormat = Annotated[
    Literal["text", "json"] | None,
    typer.Option("--log", help="How to write the log, on stderr; text on a terminal, JSON otherwise."),
]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Listen there instead; 0 picks a free one.")]


def up(config: Config = None, simulate: Simulate = 0, port: Port = None, log_format: LogFormat = None) -> None:
    """Run everything in one process: controller, agent and, unless redis.url names one, a Redis."""
    settings = _settings(config, port, log_format)

    async def serve(stop: asyncio.Event) -> None:
        from orchestrator import build  # here, so that `comfyfleet jobs` need not import a server

        async with simulated_comfyuis(simulate) as urls:
            await build.up(with_workers(settings, urls), stop, announce)

    _until_stopped(serve, settings)


def controller(config: Config = None, port: Port = None, log_format: LogFormat = None) -> None:
    """Run a controller alone: HTTP, and dispatching while it leads. Run as many as you like."""
    settings = _settings(config, port, log_format)

    async def serve(stop: asyncio.Event) -> None:
        from orchestrator import build

        await build.controller(_shared(settings, "controller"), stop, announce)

    _until_stopped(serve, settings)


def agent(config: Config = None, log_format: LogFormat = None) -> None:
    """Run an agent alone: the workers of this node. It needs to reach only Redis and the storage."""
    settings = _settings(config, None, log_format)

    async def serve(stop: asyncio.Event) -> None:
        from orchestrator import build

        await build.agent(_shared(settings, "agent"), stop)

    _until_stopped(serve, settings)


def sim_worker(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 picks a free one.")] = 8188,
    exit_with_parent: Annotated[bool, typer.Option("--exit-with-parent", hidden=True)] = False,
) -> None:
    """Run a simulated ComfyUI alone: ComfyUI's API, real pictures, pretend models."""
    from orchestrator.simulator.comfyui import SimConfig
    from orchestrator.simulator.comfyui.main import serve

    config = SimConfig(step_seconds=0.02, disk_speed=6e9, bus_speed=24e9)  # quick, yet slow enough to be watched
    try:
        asyncio.run(serve(config, port=port, exit_with_parent=exit_with_parent))
    except OSError as error:
        raise InvalidRequest("cannot_listen", f"port {port} is taken: choose another with --port") from error


def announce(url: str) -> None:
    """The one line on stdout, for people and for scripts that wait for it."""
    print(f"ready {url}", flush=True)


def with_workers(settings: Settings, urls: list[str]) -> Settings:
    """The settings with these simulated ComfyUIs attached too."""
    more = tuple(AttachedWorker(url=url, id=f"sim-{n}", gpu="simulated") for n, url in enumerate(urls, 1))
    return settings.model_copy(update={"workers": settings.workers + more})


def _settings(config: Path | None, port: int | None, log_format: Literal["text", "json"] | None) -> Settings:
    settings = load(config_path(config))
    given: dict[str, Any] = {}
    if port is not None:
        given["listen"] = f"{settings.listen.rpartition(':')[0]}:{port}"
    if log_format is not None:
        given["log"] = settings.log.model_copy(update={"format": log_format})
    return settings.model_copy(update=given)


def _shared(settings: Settings, role: str) -> Settings:
    if settings.redis.url != "embedded":
        return settings
    raise InvalidRequest(
        "config_invalid",
        f"comfyfleet {role} joins others over a Redis of yours: set redis.url to it (embedded is for comfyfleet up)",
    )


def _until_stopped(serve: Callable[[asyncio.Event], Awaitable[None]], settings: Settings) -> None:
    logs.configure(settings.log)
    _allow_many_connections()
    _collect_seldom()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def interrupted() -> None:
            if stop.is_set() and task:
                task.cancel()
                return
            stop.set()
            log.info("stopping: what executes is finished first; once more stops at once")

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted)
        await serve(stop)

    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        raise typer.Exit(130) from None
    except Exception as error:
        if foreseen(error) is not None:
            raise
        log.critical("an error that was not foreseen ends this process", exc_info=error)  # Python would quote prompts
        raise typer.Exit(FAILED) from None


def _allow_many_connections() -> None:
    """A thousand watchers are a thousand open files, and many systems begin with no more than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _collect_seldom() -> None:
    """Nearly all that is made here dies with its last reference. To look for cycles after every 700 new objects, as
    Python does, is a tenth of a job's CPU; after so many it is next to nothing, for a few MB."""
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
