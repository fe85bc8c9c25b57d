"""Monitor: listens to one ComfyUI, and finds out when it is gone, or hangs.

The websocket carries what happens; while it speaks, nothing is asked. Where it is silent, or cannot know (a run posted
before it was opened), the queue is asked for, which also tells whether ComfyUI answers at all. It is gone when it
refuses connections for a moment, or does not answer for long: one that loads a model may be slow. It hangs when it
answers, and a run gives no sign of progress for long, or nothing is taken from its queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from itertools import chain
from time import monotonic
from typing import Protocol

from orchestrator.comfy.answers import Queue
from orchestrator.comfy.protocol import Event, Preview, Status, Text, Unknown
from orchestrator.comfy.stream import Connected, Disconnected, Heard, Stream
from orchestrator.errors import WorkerFault
from orchestrator.worker.backoff import passed
from orchestrator.worker.cancellation import CancelScope
from orchestrator.worker.context import End, WorkerContext
from orchestrator.worker.prompt import Prompt

log = logging.getLogger(__name__)

SILENCE_S = 5.0  # after which a run that executes is looked for
UNHEARD_S = 1.0  # the same, for one that the websocket cannot tell of
RETRY_S = 0.3
ECHO_S = 10.0  # in which a websocket that is in order carries a ping there and back
IDLE_S = 10.0  # the same, where nothing executes: a worker that hangs is better found before it is given a run
STALLED_S = 60.0  # between two prompts it may unload models, which takes seconds
GONE_AFTER_S: Mapping[str, float] = {"comfyui_refused": 1.0, "comfyui_broken": 10.0, "comfyui_timeout": 60.0}


class Followed(Protocol):
    """A prompt of ours: of a run, or of a warm-up."""

    run_id: str
    scope: CancelScope
    prompt: Prompt

    def hear(self, event: Event, frame: str | bytes, /) -> None:
        """What ComfyUI says of it, as it came and as it was understood."""
        ...


class Monitor:
    """`followed` are what we have there, each by run id."""

    def __init__(self, context: WorkerContext, *followed: Mapping[str, Followed]) -> None:
        self._context = context
        self._followed = followed
        self._stream = Stream(context.client.url)
        self._connections = 0
        self._unproven = False  # reconnected, and nothing seen yet that shows it is the same ComfyUI
        self._sign_at = monotonic()  # of life
        self._failing_since: float | None = None
        self._stalled_since: float | None = None

    async def listen(self) -> None:
        """Passes the websocket's events on, for ever."""
        async for message in self._stream:
            self._sign_at = monotonic()
            match message:
                case Connected(client_id=client_id):
                    self._context.client_id = client_id
                    self._connections += 1
                    self._unproven = self._connections > 1
                    self._context.doubt()
                case Disconnected(reason=reason):
                    self._context.client_id = None
                    log.info("%s: websocket lost (%s)", self._context.info.id, reason)
                    self._context.doubt()
                case Heard(event=Status()):
                    if any(self._unheard(execution) for execution in self._all()):
                        self._context.doubt()
                case Heard(event=event, frame=frame):
                    self._pass_on(event, frame)

    async def look(self) -> None:
        """Asks for the queue where the websocket is not enough, until ComfyUI is gone."""
        while True:
            await passed(self._context.doubted, UNHEARD_S)
            await self._check_progress()
            if self._context.doubted.is_set() or self._due():
                self._context.doubted.clear()
                await self._ask()

    def _pass_on(self, event: Event, frame: str | bytes) -> None:
        prompt_id = getattr(event, "prompt_id", None)
        if prompt_id is not None:
            for each in self._followed:
                if prompt_id in each:
                    each[prompt_id].hear(event, frame)
        elif isinstance(event, Preview | Text | Unknown):  # it belongs to what executes now
            for execution in self._all():
                if execution.prompt.following and execution.scope.started_at is not None:
                    execution.hear(event, frame)

    def _all(self) -> Iterator[Followed]:
        return chain.from_iterable(each.values() for each in self._followed)

    def _due(self) -> bool:
        now = monotonic()
        return (
            self._context.client_id is None
            or now - self._sign_at >= IDLE_S
            or any(
                execution.prompt.following
                and now - execution.prompt.heard_at >= (UNHEARD_S if self._unheard(execution) else SILENCE_S)
                for execution in self._all()
            )
        )

    def _unheard(self, execution: Followed) -> bool:
        prompt = execution.prompt
        return prompt.following and (prompt.posted_as is None or prompt.posted_as != self._context.client_id)

    async def _ask(self) -> None:
        followed = [execution for execution in self._all() if execution.prompt.following]
        asked_at = monotonic()
        try:
            queue = await self._context.client.queue()
        except WorkerFault as fault:
            await self._failed(fault, asked_at)
            return
        self._failing_since = None
        self._sign_at = monotonic()
        self._check_queue(queue)
        for execution in followed:
            execution.prompt.seen(queue)
        if self._unproven:
            self._unproven = False
            self._prove(queue, followed)

    def _prove(self, queue: Queue, followed: list[Followed]) -> None:
        """A ComfyUI that was restarted has forgotten everything, and may offer other nodes and models."""
        if not any(execution.run_id in queue for execution in followed):
            self._context.end(End.CHANGED, "its websocket was lost, and it may have been restarted meanwhile")

    async def _check_progress(self) -> None:
        """A run that gives no sign hangs, unless it is the websocket that swallows what it says."""
        for execution in list(self._all()):
            if not self._unheard(execution) and (why := execution.prompt.overdue()):
                if await self._stream.carries(ECHO_S):
                    self._context.end(End.SICK, f"its ComfyUI hangs: run {execution.run_id} gave {why}")
                return

    def _check_queue(self, queue: Queue) -> None:
        """A ComfyUI whose executing thread has died still answers, and takes prompts."""
        if queue.running or not queue.pending:
            self._stalled_since = None
            return
        self._stalled_since = self._stalled_since or monotonic()
        if monotonic() - self._stalled_since >= STALLED_S:
            note = f"it took none of the {len(queue.pending)} prompts in its queue for {STALLED_S:.0f} s"
            self._context.end(End.SICK, f"its ComfyUI hangs: {note}")

    async def _failed(self, fault: WorkerFault, asked_at: float) -> None:
        self._failing_since = self._failing_since or asked_at
        if monotonic() - self._failing_since >= GONE_AFTER_S[fault.code]:
            self._context.end(End.GONE, fault.message)
        await asyncio.sleep(RETRY_S)
        self._context.doubt()
