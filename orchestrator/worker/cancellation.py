"""CancelScope: how a run is given up from outside, at a point where that is safe.

Only what is done within `held` is broken off; what must not be left half-done, such as posting a prompt, is done
outside of it, and the next `held` notices.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from time import monotonic


class Stop(StrEnum):
    """Why a run is given up before its end."""

    CANCEL = "cancel"  # its job is to stop
    DROP = "drop"  # it is not ours any more
    RETURN = "return"  # the agent goes: it is given back, unless it has begun
    LOSE = "lose"  # its ComfyUI is gone
    LEAVE = "leave"  # the driver begins anew, and will find it again


class Stopped(Exception):
    """Raised within `held`: `stop` was called, or the time is up if `CancelScope.why` is None."""


class CancelScope:
    """Of one run. `started_at` is when it began to execute, by the monotonic clock."""

    def __init__(self) -> None:
        self.why: Stop | None = None
        self.note = ""
        self.called = asyncio.Event()
        self.started_at: float | None = None
        self._timeout_s = math.inf
        self._limit: asyncio.Timeout | None = None

    @property
    def immediate(self) -> bool:
        """There is nothing more to ask of ComfyUI."""
        return self.why in (Stop.LOSE, Stop.LEAVE)

    def stop(self, why: Stop, note: str = "") -> None:
        """Ends what is held, now or as soon as something is."""
        if self.immediate:
            return
        self.why, self.note = why, note
        self.called.set()
        self._set_deadline()

    def begin(self) -> None:
        """It executes: from now on its time runs."""
        if self.started_at is None:
            self.started_at = monotonic()
            self._set_deadline()

    def rest(self) -> None:
        """It does not execute for now: its time begins anew when it does again."""
        self.started_at = None

    @asynccontextmanager
    async def held(self, timeout_s: float = math.inf) -> AsyncIterator[None]:
        """Raises Stopped as soon as `stop` is called, or when the run has executed for `timeout_s`."""
        if self.why is not None:
            raise Stopped
        self._timeout_s = timeout_s
        try:
            async with asyncio.timeout(None) as self._limit:
                self._set_deadline()
                yield
        except TimeoutError:
            if self._limit is None or not self._limit.expired():
                raise
            raise Stopped from None
        finally:
            self._limit = None

    def _set_deadline(self) -> None:
        if self._limit is None or self._limit.expired():
            return
        now = asyncio.get_running_loop().time()
        if self.why is not None:
            self._limit.reschedule(now)
        elif self.started_at is not None and self._timeout_s < math.inf:
            self._limit.reschedule(now + self._timeout_s - (monotonic() - self.started_at))
