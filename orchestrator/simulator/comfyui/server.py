"""A simulated ComfyUI: its HTTP and websocket server, and what runs behind it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from aiohttp import web

from orchestrator.simulator.comfyui.config import SimConfig
from orchestrator.simulator.comfyui.executor import Executor
from orchestrator.simulator.comfyui.faults import Fault, Faults
from orchestrator.simulator.comfyui.files import Files
from orchestrator.simulator.comfyui.messages import Message
from orchestrator.simulator.comfyui.nodes import NodeClasses
from orchestrator.simulator.comfyui.queue import PromptQueue
from orchestrator.simulator.comfyui.residency import Residency
from orchestrator.simulator.comfyui.routes import catalog, control, faults, files, jobs, pack
from orchestrator.simulator.comfyui.routes.context import Sim
from orchestrator.simulator.comfyui.run import Interrupt, Machine
from orchestrator.simulator.comfyui.sockets import Sockets

SHUTDOWN_SECONDS = 1.0
"""How long the end waits for requests in progress."""


class SimComfyUI:
    """A ComfyUI to be started; `await SimComfyUI(config).start()`. `own_process`: it may crash if asked to."""

    def __init__(self, config: SimConfig | None = None, *, own_process: bool = False) -> None:
        self.config = config or SimConfig()
        self._own_process = own_process

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> RunningSim:
        """Serve until stopped; port 0 takes a free one. Raises OSError when the port is taken."""
        folder = tempfile.TemporaryDirectory(prefix="comfyui-sim-") if self.config.directory is None else None
        root = Path(folder.name) if folder else self.config.directory
        assert root is not None
        sim = _assemble(replace(self.config, directory=root), self._own_process)
        runner = web.AppRunner(_application(sim), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        sim.executor.start()
        publisher = asyncio.create_task(sim.sockets.publish(), name="comfyui-simulator-publisher")
        actual = runner.addresses[0][1]
        return RunningSim(f"http://{host}:{actual}", sim, runner, publisher, folder)


class RunningSim:
    """A simulated ComfyUI that serves at `url`; also an async context manager."""

    def __init__(
        self,
        url: str,
        sim: Sim,
        runner: web.AppRunner,
        publisher: asyncio.Task[None],
        folder: tempfile.TemporaryDirectory[str] | None,
    ) -> None:
        self.url = url
        self._sim = sim
        self._runner = runner
        self._publisher = publisher
        self._folder = folder

    @property
    def loads(self) -> Mapping[str, int]:
        """Folder/name of a model file -> how often it was read from disk."""
        return dict(self._sim.machine.residency.disk_loads)

    @property
    def vram(self) -> Mapping[str, int]:
        """Folder/name of a model file -> bytes of it that are in VRAM."""
        held = Counter[str]()
        for part in self._sim.machine.residency.placed:
            held[part.file] += part.size
        return held

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """When each prompt began and ended (Unix ms), oldest first, whatever clients deleted since."""
        return list(self._sim.queue.spans)

    @property
    def directory(self) -> Path:
        """Where input/, output/ and temp/ are."""
        return self._sim.machine.files.root

    def fail(self, *faults: Fault) -> None:
        """Have it fail in these ways from now on."""
        self._sim.fail(faults)

    def heal(self) -> None:
        """Have it fail no more."""
        self._sim.heal()

    @property
    def faults(self) -> Faults:
        """How it fails."""
        return self._sim.machine.faults

    async def stop(self) -> None:
        """End at once: what executes is abandoned, sockets are closed."""
        self._sim.machine.stop.set()
        self._sim.queue.close()
        await self._sim.sockets.close()
        await self._runner.cleanup()
        self._publisher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._publisher
        await asyncio.to_thread(self._sim.executor.join)
        if self._folder is not None:
            self._folder.cleanup()

    async def __aenter__(self) -> RunningSim:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _assemble(config: SimConfig, own_process: bool) -> Sim:
    assert config.directory is not None
    ways = Faults(config.faults, own_process=own_process)
    machine = Machine(config, Files(config.directory), Residency(config), Interrupt(), ways, threading.Event())
    classes = NodeClasses(config, machine.files)
    sockets = Sockets(ways)

    def tell_everyone() -> None:
        sockets.post(Message("status", {"status": queue.info()}, None))
        sockets.flush()

    queue = PromptQueue(tell_everyone)
    sim = Sim(machine, classes, queue, sockets, Executor(machine, classes, queue, sockets))
    sim.refresh()
    return sim


def _application(sim: Sim) -> web.Application:
    app = web.Application(client_max_size=sim.machine.config.max_upload_bytes)
    routes = [*control.routes(sim), *files.routes(sim), *catalog.routes(sim), *faults.routes(sim)]
    app.add_routes([*(web.route(route.method, f"/api{route.path}", route.handler) for route in routes), *routes])
    if sim.machine.config.profile.jobs_api:
        app.add_routes(jobs.routes(sim))
    if sim.machine.config.node_pack:
        app.add_routes(pack.routes(sim))
    return app
