"""Prompt: one run as its ComfyUI has it, from posting it to how it ended or to the certainty that it does not run.

The websocket says when to look (`hear`), and so does the queue when it was asked for (`seen`); how it ended is read
from the history alone. Posting is never broken off: whether ComfyUI took it would stay unknown, and it could execute
after it was declared stopped.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from orchestrator.comfy.answers import HistoryEntry, Queue
from orchestrator.comfy.nodetimes import NodeTimes
from orchestrator.comfy.protocol import Event
from orchestrator.comfy.session import Instruction, Session
from orchestrator.errors import Retryable, WorkerFault
from orchestrator.store.port import Graph
from orchestrator.worker import metrics
from orchestrator.worker.backoff import delays, insist, passed
from orchestrator.worker.cancellation import CancelScope
from orchestrator.worker.context import WorkerContext
from orchestrator.worker.watchdog import Watchdog

HALT_POLL_S = 0.25
BRIEF_S = 0.003  # a run that is over sooner is not said to execute: its result says it all


class Prompt:
    """`found`: it is in ComfyUI's queue or history already, from before this driver."""

    def __init__(self, run_id: str, context: WorkerContext, scope: CancelScope, found: bool) -> None:
        self.run_id = run_id
        self.session: Session | None = None
        self.times = NodeTimes()
        self.posted = found  # ComfyUI was given it
        self.following = False  # ComfyUI has it, and how it ends is not known yet
        self.posted_as: str | None = None  # the client_id that hears of it
        self.posted_at = monotonic()
        self.heard_at = self.posted_at
        self._from_before = found
        self._watchdog: Watchdog | None = None  # once it executes
        self._context = context
        self._scope = scope
        self._there = found  # for all we know
        self._look = found  # it is time to ask for the history
        self._wake = asyncio.Event()

    def hear(self, event: Event) -> None:
        """An event of this prompt."""
        if self.session is None:
            return
        self.heard_at = monotonic()
        if self._watchdog is not None:
            self._watchdog.hear(event, self.heard_at)
        self.times.hear(event, self.heard_at)
        instruction = self.session.hear(event)
        if instruction is Instruction.REPORT_START:
            self._begin()
        elif instruction is Instruction.FETCH_HISTORY:
            self._end()

    def seen(self, queue: Queue) -> None:
        """ComfyUI's queue, asked for while this was `following`."""
        self.heard_at = monotonic()
        if self.run_id in queue.running:
            self._begin()
        elif self.run_id not in queue.pending:
            self._end()

    @property
    def there_since(self) -> float:
        """When ComfyUI was given it, by the monotonic clock; for one from before this driver, nobody knows."""
        return -math.inf if self._from_before else self.posted_at

    def overdue(self) -> str | None:
        """Why it counts as hung, in words. To be asked of one that the websocket tells of: others give no sign."""
        return self._watchdog.overdue(monotonic()) if self.following and self._watchdog is not None else None

    async def post(self, graph: Graph, outputs: Sequence[str], extra_data: Mapping[str, Any]) -> None:
        """Returns when ComfyUI has it. Raises what ComfyClient.prompt raises, and Stopped between two tries."""
        pauses = delays()
        while True:
            self.posted_as = self._context.client_id
            self.posted = self._there = True
            try:
                await self._context.client.prompt(graph, self.run_id, self.posted_as, outputs, extra_data)
                break
            except WorkerFault as fault:
                if fault.code == "comfyui_broken":
                    raise
                self._context.doubt()
            async with self._scope.held():
                await asyncio.sleep(next(pauses))
                if await insist(self._is_known, self._context.doubt):
                    break
        self.posted_at = self.heard_at = monotonic()

    async def follow(self, timeout_s: float, on_start: Callable[[float], Awaitable[None]]) -> HistoryEntry:
        """How it ended, as soon as it did. `on_start` is called once if it executes for longer than a moment, with the
        seconds that it had waited. Raises Stopped, and Retryable("run_vanished") when ComfyUI lost it.
        """
        self.following = True
        told = False
        try:
            async with self._scope.held(timeout_s):
                while True:
                    if self._look:
                        self._look = False
                        entry = await insist(self._ended, self._context.doubt)
                        if entry is not None:
                            self._there = False
                            self._scope.begin()
                            return entry
                    elif self._scope.started_at is not None and not told:
                        self._wake.clear()
                        await passed(self._wake, BRIEF_S)
                        if not self._look:
                            told = True
                            await on_start(max(0.0, self._scope.started_at - self.posted_at))
                    else:
                        await self._wake.wait()
                        self._wake.clear()
        finally:
            self.following = False

    async def halt(self, patience_s: float = math.inf) -> bool:
        """Has ComfyUI stop it, and waits until it has; False when that takes too long. Asks again and again: ComfyUI
        forgets an interrupt that comes as a prompt begins, and obeys only between the steps of a node."""
        give_up_at = monotonic() + patience_s
        while self._there and not self._scope.immediate:
            try:
                await self._context.client.cancel(self.run_id)
                self._there = self.run_id in await self._context.client.queue()
            except WorkerFault:
                self._context.doubt()
            if self._there:
                if monotonic() > give_up_at:
                    return False
                self._scope.called.clear()
                await passed(self._scope.called, HALT_POLL_S)
        return True

    async def forget(self) -> None:
        """Makes ComfyUI ready to take it once more. Raises Stopped."""
        async with self._scope.held():
            await insist(lambda: self._context.client.delete_history([self.run_id]), self._context.doubt)
        self._look = False
        self._watchdog = None
        self.times = NodeTimes()

    def _begin(self) -> None:
        before, gone_at = self._scope.started_at, self._context.executed_at
        self._scope.begin()
        if before is None and gone_at is not None and self.there_since <= gone_at:
            metrics.IDLE_GAP.labels(self._context.info.id).observe(monotonic() - gone_at)
        if self._watchdog is None:
            self._watchdog = Watchdog(self._context.budgets, monotonic())
        self._wake.set()

    def _end(self) -> None:
        self._context.executed_at = monotonic()
        self._look = True
        self._wake.set()

    async def _is_known(self) -> bool:
        """Asked in this order, as it goes from the queue to the history in one step."""
        client = self._context.client
        return self.run_id in await client.queue() or await client.history(self.run_id) is not None

    async def _ended(self) -> HistoryEntry | None:
        """How it ended; None while ComfyUI has it queued."""
        client = self._context.client
        entry = await client.history(self.run_id)
        if entry is not None or self.run_id in await client.queue():
            return entry
        entry = await client.history(self.run_id)
        if entry is None:
            self._there = False
            raise vanished(client.url)
        return entry


def vanished(url: str) -> Retryable:
    """For a run that its ComfyUI has neither queued nor in its history."""
    return Retryable("run_vanished", f"{url} does not know the run any more: its ComfyUI was restarted, or cleared")
