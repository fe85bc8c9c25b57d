"""How a driver waits for what is away: the store, the storage, its ComfyUI. Each comes back, or the run is taken from
whoever waits here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import chain, repeat
from typing import TypeVar

from orchestrator.errors import Busy, WorkerFault

T = TypeVar("T")

log = logging.getLogger(__name__)

_DELAYS_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_LAST_DELAY_S = 2.0
_NONSENSE = 3  # answers that are no ComfyUI's, after which waiting makes no sense


def delays() -> Iterator[float]:
    """Seconds between one try and the next, for ever."""
    return chain(_DELAYS_S, repeat(_LAST_DELAY_S))


async def passed(event: asyncio.Event, seconds: float) -> None:
    """Waits until the event is set, for so long at most. (Unlike asyncio.wait_for in Python 3.11, this cannot swallow
    a cancellation that comes with the event.)"""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def insist(call: Callable[[], Awaitable[T]], doubt: Callable[[], None] | None = None) -> T:
    """The result of a call that may be repeated: asked for until it comes, be the store, the storage or ComfyUI away
    for a while. `doubt` is called whenever it is ComfyUI. Raises WorkerFault when that answers, but not as it should.
    """
    pauses = delays()
    nonsense, complained = 0, False
    while True:
        try:
            return await call()
        except (Busy, WorkerFault) as error:
            if isinstance(error, WorkerFault):
                nonsense += error.code == "comfyui_broken"
                if nonsense == _NONSENSE:
                    raise
                if doubt is not None:
                    doubt()
            if not complained:  # of ComfyUI, whoever watches it will
                log.log(logging.WARNING if isinstance(error, Busy) else logging.DEBUG, "waiting: %s", error.message)
                complained = True
        await asyncio.sleep(next(pauses))
