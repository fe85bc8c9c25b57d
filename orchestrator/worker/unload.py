"""Unloading: has a ComfyUI let go of its models and results, and sees to it that it did.

POST /free only raises flags. ComfyUI's executing thread looks at them after a prompt, or when a request wakes it while
it waits for one; one that comes while it collects garbage, as it does right after a prompt, wakes nobody, and the next
prompt is executed with everything still in memory. So it is asked again: until the node pack says that nothing is held,
or, where there is none, for longer than collecting takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from orchestrator.comfy.client import ComfyClient
from orchestrator.worker.backoff import insist

log = logging.getLogger(__name__)

IDLE_POLL_S = 0.2
PAUSES_S = (0.1, 0.4, 1.0)  # after each time that it is asked
PAUSES_SEEING_S = (*PAUSES_S, 2.0, 4.0)  # while the node pack says that something is held


async def empty(client: ComfyClient, doubt: Callable[[], None]) -> None:
    """Returns when nothing is held, as far as can be told. Nothing may be posted meanwhile; what ComfyUI has already
    is waited for. Raises WorkerFault when it answers, but not as it should; `doubt` is told when it does not."""
    await _finish(client, doubt)
    emptied: bool | None = None
    for pause in PAUSES_SEEING_S:
        if emptied is None and pause not in PAUSES_S:
            return
        await insist(client.free, doubt)
        await asyncio.sleep(pause)
        report = await insist(client.memory, doubt)
        emptied = None if report is None else report.empty
        if emptied:
            return
    log.warning("%s still holds models after it was told to let go of them: does a custom node keep them?", client.url)


async def _finish(client: ComfyClient, doubt: Callable[[], None]) -> None:
    """Waits for what is queued now; of what others post later, nobody knows the end."""
    queued = set(await insist(client.queue, doubt))
    while queued:
        await asyncio.sleep(IDLE_POLL_S)
        queued &= set(await insist(client.queue, doubt))
