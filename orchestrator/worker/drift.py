"""Drift: a ComfyUI that is not what its lock says is given no runs.

Whoever keeps it compares before it is used. One that differs is quarantined with the differences in words; it is looked
at again every so often, and at once when an operator resumes it, and is used as soon as it is what the lock says.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.comfy.client import ComfyClient
from orchestrator.domain.worker import WorkerEvent
from orchestrator.errors import Busy, Conflict, FleetError, InvalidRequest, NotFound
from orchestrator.pins import inventory
from orchestrator.pins.lock import Lock
from orchestrator.pins.pinned import Pinned, read_lock
from orchestrator.worker.backoff import passed

RECHECK_S = 20.0
HASHING_POLL_S = 1.0

KEPT_FROM_TELLING = (Conflict, InvalidRequest, NotFound, Busy)
"""What a comparison raises that does not end well, the message for the operator in it."""

Tell = Callable[[WorkerEvent | None, str], Awaitable[None]]
"""Has operators see what happened to the worker (Tenant.tell)."""


async def conforming(look: Callable[[], Awaitable[Lock]], tell: Tell, resumed: asyncio.Event) -> Lock:
    """The lock that `look` answers, once it does not raise what differs, or what keeps it from telling."""
    told = ""
    while True:
        try:
            lock = await look()
        except KEPT_FROM_TELLING as why:
            if not told or resumed.is_set():
                resumed.clear()
                await tell(WorkerEvent.QUARANTINE, why.message)
            elif why.message != told:
                await tell(None, why.message)
            told = why.message
        else:
            if told:
                await tell(WorkerEvent.RESUME, "it is what its lock says again")
            return lock
        await passed(resumed, RECHECK_S)


async def lock_of_installed(pinned: Pinned, folder: Path, python: Path) -> Lock:
    """Raises what Pinned.check_installed raises."""
    given_up = threading.Event()

    def reading(_name: str) -> None:
        if given_up.is_set():
            raise FleetError("given_up", "nobody waits for it any more")

    try:
        return await asyncio.to_thread(pinned.check_installed, folder, python, reading)
    finally:
        given_up.set()


async def lock_of_running(pinned: Pinned, client: ComfyClient, tell: Tell) -> Lock:
    """The same of a ComfyUI that was started by others, by its node pack, however long that takes to read its models.
    Raises NotFound("no_node_pack"), WorkerFault, and what Pinned.hold and inventory.parse raise."""
    lock = await asyncio.to_thread(read_lock, pinned.file)
    wanted = sorted(lock.models)
    document = await client.inventory(wanted)
    while missing := inventory.unhashed(document, wanted):
        await tell(None, f"comparing it with {pinned.file.name}: {len(missing)} of its models are still being read")
        await asyncio.sleep(HASHING_POLL_S)
        document = await client.inventory()
    if document is None:
        raise NotFound(
            "no_node_pack",
            f"nobody can tell whether it is what {pinned.file.name} says: link comfyfleet's node pack (comfy_nodes) "
            "into its custom_nodes and restart it, or take `lock:` away",
        )
    pinned.hold(lock, inventory.parse(document))
    return lock
