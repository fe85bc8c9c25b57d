"""Warming: a workflow executed once, outside of any job, so that its models are in memory before a job asks for them.

At most one at a time, on a worker with nothing to do. As soon as it has something to do, ComfyUI is told to stop the
warm-up, and the run is queued behind it: what was loaded by then serves the run too, or makes room for it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from orchestrator.comfy.protocol import Event, Text, Unknown
from orchestrator.comfy.session import Collect, Session, Verdict
from orchestrator.comfy.session import Stopped as Interrupted
from orchestrator.domain.warmup import Warmed, WarmEnd, Warmup
from orchestrator.errors import InvalidRequest, Permanent, Retryable
from orchestrator.graph.needs import needs
from orchestrator.graph.stage import break_cache
from orchestrator.worker.backoff import insist
from orchestrator.worker.cancellation import CancelScope, Stop, Stopped
from orchestrator.worker.context import End, WorkerContext
from orchestrator.worker.gauge import Gauge
from orchestrator.worker.prompt import Prompt

log = logging.getLogger(__name__)

HALT_GRACE_S = 15.0  # beyond what loading a model may take, while which ComfyUI does not listen


class Warming:
    """One warm-up on one worker."""

    def __init__(self, warmup: Warmup, context: WorkerContext) -> None:
        self.run_id = warmup.id
        self.scope = CancelScope()
        self.prompt = Prompt(warmup.id, context, self.scope, found=False)
        self._warmup = warmup
        self._context = context

    def hear(self, event: Event, _: str | bytes) -> None:
        """What its ComfyUI says of it; what names no prompt is no sign of progress."""
        if not isinstance(event, Text | Unknown):
            self.prompt.hear(event)

    async def run(self) -> Warmed:
        """How it ended; by then it does not execute any more."""
        try:
            end, note = self._judge(await self._execute())
        except Stopped:
            end, note = WarmEnd.GIVEN_UP, "there is something to do"
            if self.scope.why is None:
                end, note = WarmEnd.FAILED, f"it executed for longer than its timeout_s of {self._warmup.timeout_s:g}"
        except (Permanent, InvalidRequest, Retryable) as error:
            end, note = WarmEnd.FAILED, error.message
        if not await self.prompt.halt(HALT_GRACE_S + self._context.budgets.node_s):
            told = f"the warm-up of {self._warmup.workflow} does not stop when it is told to"
            self._context.end(End.SICK, f"its ComfyUI hangs: {told}")
        self._context.finished.append(self.run_id)
        return Warmed(self._warmup.workflow, end, note)

    async def _execute(self) -> Verdict:
        warmup, context = self._warmup, self._context
        session = self.prompt.session = Session(warmup.graph, warmup.outputs)
        async with self.scope.held():
            graph = await context.stager.stage(break_cache(warmup.graph, warmup.id), warmup.id)
            await context.posting.acquire()
        try:
            await self.prompt.post(graph, warmup.outputs, {})
        finally:
            context.posting.release()
        verdict = session.conclude(await self.prompt.follow(warmup.timeout_s, _untold))
        if isinstance(verdict, Collect):
            models = needs(warmup.graph, context.catalog, warmup.outputs).models
            context.residency.run(models)
            context.digests.used(models)
        return verdict

    @staticmethod
    def _judge(verdict: Verdict) -> tuple[WarmEnd, str]:
        match verdict:
            case Collect():
                return WarmEnd.DONE, ""
            case Interrupted():
                return WarmEnd.GIVEN_UP, "it was interrupted"
            case _:
                return WarmEnd.FAILED, verdict.error.message


class Warmups:
    """Those of one tenure. `prompts` are under way, by run id; `busy`: whether there is something else to do; `tell`
    has operators see a note."""

    def __init__(
        self, context: WorkerContext, gauge: Gauge, epoch: int, busy: Callable[[], bool],
        tell: Callable[[str], Awaitable[None]],
    ) -> None:  # fmt: skip
        self.prompts: dict[str, Warming] = {}
        self._context = context
        self._gauge = gauge
        self._epoch = epoch
        self._busy = busy
        self._tell = tell
        self._complained = False

    def give_up(self, why: Stop = Stop.DROP) -> None:
        """There is something else to do, or no ComfyUI any more."""
        for warming in self.prompts.values():
            warming.scope.stop(why)

    async def serve(self, warmup_id: str) -> None:
        """Does what was ordered, and tells the store how that ended. Raises Superseded."""
        store, worker_id = self._context.store, self._context.info.id
        warmup = await insist(lambda: store.warmup(worker_id, warmup_id))
        if warmup is None or self.prompts:
            return
        warming = self.prompts[warmup_id] = Warming(warmup, self._context)
        if self._busy():
            self.give_up()
        try:
            warmed = await warming.run()
        finally:
            del self.prompts[warmup_id]
        if warming.scope.immediate:
            return
        log.info("%s: warm-up of %s: %s %s", worker_id, warmup.workflow, warmed.end, warmed.note)
        await self._gauge.look()
        residency = self._context.told = self._context.residency.report()
        await insist(lambda: store.warmed(worker_id, self._epoch, warmup_id, warmed, residency))
        await self._note(warmed)

    async def _note(self, warmed: Warmed) -> None:
        if warmed.end is WarmEnd.FAILED:
            self._complained = True
            await self._tell(f"its warm-up of {warmed.workflow} failed: {warmed.note}")
        elif warmed.end is WarmEnd.DONE and self._complained:
            self._complained = False
            await self._tell("")


async def _untold(_: float) -> None:
    """Nobody waits for it to start."""
