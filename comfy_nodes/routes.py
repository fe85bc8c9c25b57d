"""GET /fleet/residency and GET /fleet/inventory on ComfyUI's server.

Both are answered from threads of their own: ComfyUI's event loop only waits for them, and its default pool, which
serves files, is left alone. A route always answers 200 with what could be read, and names what could not.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from aiohttp import web

from . import inventory, residency
from .gaps import Gaps
from .hashing import Hasher
from .internals import Missing, installation, memory, observation, server
from .provenance import Provenance

RESIDENCY_SCHEMA = 1
_PATHS = {"/fleet/residency", "/fleet/inventory"}

log = logging.getLogger("comfyfleet")


def install() -> None:
    """Adds the routes to the ComfyUI that this process is, if it is one."""
    try:
        prompt_server = server()
    except Missing as missing:
        log.debug("comfyfleet's node pack stays inactive: %s", missing)
        return
    if _PATHS & {getattr(route, "path", None) for route in prompt_server.routes}:
        here = Path(__file__).parent
        log.warning("comfyfleet's node pack is in custom_nodes twice; remove one. This one stays inactive: %s", here)
        return
    fleet = FleetRoutes()
    fleet.observe()
    fleet.add_to(prompt_server.routes)
    prompt_server.app.on_startup.append(fleet.read_log)


class FleetRoutes:
    """The routes of one ComfyUI."""

    def __init__(self) -> None:
        self._provenance = Provenance()
        self._unobserved: dict[str, str] = {}
        self._failures: dict[str, str] = {}
        self._residency = ThreadPoolExecutor(1, "comfyfleet-residency")
        self._inventory = ThreadPoolExecutor(1, "comfyfleet-inventory")  # may wait long for a slow disk

    def observe(self) -> None:
        """Starts to watch where models come from."""
        self._unobserved = observation.observe(self._provenance)

    def add_to(self, routes: web.RouteTableDef) -> None:
        routes.get("/fleet/residency")(self.get_residency)
        routes.get("/fleet/inventory")(self.get_inventory)

    async def read_log(self, _app: web.Application) -> None:
        """All node packs were loaded: keeps what ComfyUI said of those that failed, before its log moves on."""
        self._failures = inventory.import_failures(Gaps().read("log", installation.log_lines) or ())

    async def get_residency(self, _request: web.Request) -> web.Response:
        return await _answer(self._residency, self.residency)

    async def get_inventory(self, request: web.Request) -> web.Response:
        """`?sha256=1` has every model hashed in the background, `?hash=FOLDER/NAME` (repeatable) these first."""
        wanted = inventory.Wanted(
            request.query.get("sha256", "0") not in ("", "0", "false"), frozenset(request.query.getall("hash", []))
        )
        return await _answer(self._inventory, lambda: self.inventory(wanted))

    def residency(self) -> dict[str, Any]:
        """What is in memory now."""
        gaps = Gaps(self._unobserved)
        loaded = gaps.read("models", lambda: memory.loaded(self._provenance))
        cache = gaps.read("cache", lambda: (memory.cache_policy(), memory.cached(self._provenance)))
        policy, kept = cache or ("", [])
        gaps.note("files", self._provenance.fault)
        unnamed = residency.unnamed([*(loaded or ()), *kept])
        if unnamed:
            gaps.note("files", f"{unnamed} entries name no file: no node was seen to look one up in folder_paths")
        sizes = _sizes([*(loaded or ()), *kept])
        found: dict[str, Any] = {} if loaded is None else {"models": residency.entries(loaded, sizes)}
        if cache is not None:
            found["cache"] = {"policy": policy, "models": residency.entries(kept, sizes)}
        found.update(gaps.fields({"vram": memory.vram, "ram": memory.ram}))
        return {"schema": RESIDENCY_SCHEMA, **found, "unavailable": gaps.reasons}

    def inventory(self, wanted: inventory.Wanted) -> dict[str, Any]:
        """What this ComfyUI is made of."""
        return inventory.report(self._hasher, wanted, self._failures)

    @cached_property
    def _hasher(self) -> Hasher:
        # Names that begin with two underscores are no users' to ComfyUI: it serves nothing from there.
        shared = os.environ.get("COMFYFLEET_HASHES")
        return Hasher(Path(shared) if shared else installation.user_directory() / "__fleet" / "sha256.json")


async def _answer(thread: ThreadPoolExecutor, read: Callable[[], dict[str, Any]]) -> web.Response:
    def guarded() -> dict[str, Any]:
        gaps = Gaps()
        return gaps.read("report", read) or {"schema": RESIDENCY_SCHEMA, "unavailable": gaps.reasons}

    return web.json_response(await asyncio.get_running_loop().run_in_executor(thread, guarded))


def _sizes(held: Iterable[residency.Held]) -> dict[str, int]:
    """Bytes on disk of the files in these, by path; not of files that are gone."""
    sizes: dict[str, int] = {}
    for path in {file.path for model in held for file in model.files}:
        try:
            sizes[path] = Path(path).stat().st_size
        except OSError:
            continue
    return sizes
