"""Execution: one run on one worker, from its order to its end in the store. `run` tells the story, top to bottom."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic, time
from typing import Any

from orchestrator.comfy.answers import HistoryEntry
from orchestrator.comfy.protocol import Event, Text, Unknown
from orchestrator.comfy.session import Collect, Fail, OutOfMemory, Rerun, Retry, Session, Verdict, missing_file
from orchestrator.domain.asset import Output
from orchestrator.domain.job import JobError
from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.domain.run import TERMINAL, RunState
from orchestrator.errors import Busy, InvalidRequest, NotFound, Permanent, Retryable, Superseded, WorkerFault
from orchestrator.graph.needs import needs
from orchestrator.graph.stage import break_cache
from orchestrator.quality.report import read_scores, scoring_s
from orchestrator.store.port import Graph, Order, Result, RunKey
from orchestrator.telemetry import traces
from orchestrator.telemetry.ids import about
from orchestrator.worker import metrics
from orchestrator.worker.backoff import insist
from orchestrator.worker.cancellation import CancelScope, Stop, Stopped
from orchestrator.worker.collector import Owner
from orchestrator.worker.context import End, WorkerContext
from orchestrator.worker.harvest import Found, Harvest
from orchestrator.worker.outcome import (
    Canceled,
    Done,
    Dropped,
    Failed,
    Left,
    Lost,
    Outcome,
    figures,
    job_error,
    lost,
    too_large,
)
from orchestrator.worker.prompt import Prompt, vanished
from orchestrator.worker.relay import Relay
from orchestrator.worker.tracing import NodeTimes, traced

log = logging.getLogger(__name__)

DELIVER_S = 0.02  # of delivering that are not worth telling anybody
HALT_GRACE_S = 15.0  # for a node that ran out of time to come to a point where it can be interrupted


class Execution:
    """`found`: its ComfyUI has the run already, from before this driver. `adopted`: the ComfyUI was looked at after it
    was given the run. `key` and `job_id` are there once its order is; `announced`: the store knows that it executes;
    `shows`: what it makes may be seen before it is over, as nobody is going to choose among candidates."""

    def __init__(self, run_id: str, context: WorkerContext, found: bool = False, adopted: bool = False) -> None:
        self.run_id = run_id
        self.job_id = ""
        self.key: RunKey | None = None
        self.announced = False
        self.shows = False
        self.scope = CancelScope()
        self.prompt = Prompt(run_id, context, self.scope, found)
        self._context = context
        self.relay: Relay | None = None
        self._found = found
        self._adopted = adopted
        self._history: Mapping[str, Any] | None = None  # that it ended with
        self.harvest: Harvest | None = None  # once there is an order
        self._models: tuple[ModelRef, ...] = ()
        self._load_s: float | None = None  # thought to be spent on loading these
        self._nodes = NodeTimes() if traces.on() else None

    def stop(self, why: Stop, note: str = "") -> None:
        """Gives it up as soon as that is safe. What has begun is not given back."""
        if why is Stop.RETURN and (self.scope.why or self.scope.started_at is not None):
            return
        self.scope.stop(why, note)

    def note_load(self) -> None:
        """What it loads is what is not in memory now, if it has begun and that was not noted yet."""
        if self._load_s is None and self.scope.started_at is not None:
            residency, worker = self._context.residency, self._context.info.id
            self._load_s = residency.load_s(self._models)
            loading = residency.loading(self._models)
            metrics.MODEL_HITS.labels(worker).inc(loading.hits)
            metrics.MODEL_SWAPS.labels(worker).inc(loading.swaps)
            for tier, size in loading.loads:
                metrics.MODEL_LOADS.labels(worker, tier).inc()
                metrics.MODEL_BYTES.labels(worker, tier).inc(size)

    def hear(self, event: Event, frame: str | bytes) -> None:
        """What its ComfyUI says of it, or of whatever it executes; what names no run is no sign of progress."""
        if not isinstance(event, Text | Unknown):
            self.prompt.hear(event)
            if self._nodes is not None:
                self._nodes.hear(event, time())
        if self.relay is not None:
            self.relay.hear(event, frame)

    async def run(self) -> None:
        """At the end the run is over in the store, or it is not ours any more."""
        with about(run=self.run_id, worker=self._context.info.id):
            order = await self._claim()
            if order is not None:
                with about(job=order.spec.id), traced(order):
                    await self._serve(order)

    async def _serve(self, order: Order) -> None:
        self.job_id = order.spec.id
        self.key = RunKey(self.run_id, order.run.attempt, self._context.info.id)
        if origin := order.spec.origin:
            self.relay = Relay(self._context.store, self.key, told=origin.client_id is not None)
        self.harvest = Harvest(self._context.collector, Owner(self.job_id, self.run_id), order.shown)
        self.shows = order.spec.gate is None
        if self._found and order.run.state is RunState.RUNNING:
            self.scope.begin()
        try:
            outcome = await self._conclude(order, self.key)
        except Superseded:
            await self.prompt.halt()
            outcome = Dropped()
        ended = type(outcome).__name__.lower()
        log.info("run %s: %s", self.run_id, ended, extra=figures(outcome))
        traces.note({"outcome": ended, **figures(outcome)})
        if isinstance(outcome, Done) or await self._is_over():
            self._context.finished.append(self.run_id)
        self._context.learn(outcome)

    async def _claim(self) -> Order | None:
        """The order, if it is still for us."""
        try:
            order = await insist(lambda: self._context.store.order(self.run_id))
        except NotFound:
            return None
        ours = order.run.worker == self._context.info.id and order.run.state in (RunState.ASSIGNED, RunState.RUNNING)
        return order if ours else None

    async def _conclude(self, order: Order, key: RunKey) -> Outcome:
        """How it ended, which the store knows then. A surprise in one run must not end the others of its worker."""
        try:
            outcome = await self._outcome(order)
            await self._settle(key, outcome)
        except Superseded:
            raise
        except Exception as error:
            log.exception("run %s failed in a way that was not foreseen", self.run_id)
            await self.prompt.halt()
            message = f"comfyfleet failed, not the job: {error!r}; please report this"
            outcome = Lost(JobError("internal", message))
            await self._settle(key, outcome)
        return outcome

    async def _outcome(self, order: Order) -> Outcome:
        try:
            if order.run.state is RunState.RUNNING and not self._found:
                raise vanished(self._context.info.url)
            return await self._produce(order)
        except (Permanent, InvalidRequest) as error:
            await self.prompt.halt()
            return Failed(job_error(error))
        except Retryable as error:
            await self.prompt.halt()
            return await self._lost(lost(error, self._needs(order)))
        except Stopped:
            return await self._give_up(order.spec.timeout_s)

    async def _lost(self, verdict: Lost) -> Outcome:
        """A worker that has not what it was taken to have is looked at anew before anybody else may give it runs: this
        one waits there, and is given back when it is certain."""
        if not verdict.stale or self._adopted:
            return verdict
        with suppress(WorkerFault):  # what it keeps of half a prompt would be taken for how this one ended
            await self._context.client.delete_history([self.run_id])
        self._context.end(End.CHANGED, f"it has to be looked at anew: {verdict.error.message}")
        return Left()

    async def _produce(self, order: Order) -> Outcome:
        verdict = await self._attempt(order, order.graph)
        if isinstance(verdict, OutOfMemory):
            log.warning("run %s was out of memory: it is tried again with nothing else in it", self.run_id)
            await self._forget()
            verdict = await self._attempt(order, order.graph, alone=True)
        if isinstance(verdict, Rerun):
            await self._forget()
            verdict = await self._attempt(order, break_cache(order.graph, self.run_id))
        return verdict if isinstance(verdict, Done) else self._judge(verdict)

    async def _forget(self) -> None:
        """It can be executed here once more, as if it had not been."""
        await self.prompt.forget()
        self.scope.rest()
        self._found = False

    async def _attempt(self, order: Order, graph: Graph, alone: bool = False) -> Done | Verdict:
        """Executes the graph once, if ComfyUI does not have it already, and collects what it made. `alone`: with
        nothing else in memory."""
        assert self.harvest is not None
        try:
            return await self._executed(order, graph, alone, self.harvest)
        finally:
            await self.harvest.close()

    async def _executed(self, order: Order, graph: Graph, alone: bool, harvest: Harvest) -> Done | Verdict:
        session = self.prompt.session = Session(order.graph, order.spec.outputs, as_shown=self.relay is not None)
        self._models, self._load_s = self._needs(order).models, None
        if not self._found:
            await self._submit(order, graph, alone)
        try:
            entry = await self.prompt.follow(order.spec.timeout_s, self._announce)
        finally:
            if self._nodes is not None and self.scope.started_at is not None:
                self._nodes.tell(graph, monotonic() - self.scope.started_at)
        self._history = entry.document
        verdict = session.conclude(entry)
        if not isinstance(verdict, Collect):
            return verdict
        self.note_load()
        self._context.residency.run(self._models)
        self._context.digests.used(self._models)
        try:
            with traces.span("deliver", {"outputs": len(verdict.outputs)}):
                async with self.scope.held():
                    outputs = await self._deliver(harvest, verdict.outputs)
        except NotFound as error:
            return missing_file(error.message)
        return Done(self._result(order, entry, outputs))

    async def _deliver(self, harvest: Harvest, found: Sequence[Found]) -> tuple[Output, ...]:
        """Where bringing the outputs over takes longer than a moment, the worker is said to be free before."""
        telling = asyncio.create_task(self._tell_executed())
        try:
            return await harvest.finish(found)
        finally:
            telling.cancel()

    async def _tell_executed(self) -> None:
        await asyncio.sleep(DELIVER_S)
        key = self.key
        assert key is not None
        with suppress(Superseded, Busy):  # a hint: without it the next run begins a little later
            await self._context.store.executed(key)

    async def _submit(self, order: Order, graph: Graph, alone: bool) -> None:
        """Has the run queued on ComfyUI."""
        try:
            await self._post(order, await self._staged(graph), alone)
        except Permanent:
            # ComfyUI may have lost an input that it had.
            if not self._context.stager.forget(graph):
                raise
            await self.prompt.halt()
            await self._post(order, await self._staged(graph), alone)

    async def _post(self, order: Order, graph: Graph, alone: bool) -> None:
        async with self.scope.held():
            await self._context.posting.acquire()
        try:
            if alone:
                async with self.scope.held():
                    await self._context.empty()
            await self.prompt.post(graph, order.spec.targets, {**order.extra_data, **order.secrets()})
        finally:
            self._context.posting.release()

    async def _staged(self, graph: Graph) -> Graph:
        with traces.span("stage"):
            async with self.scope.held():
                return await self._context.stager.stage(graph, self.run_id)

    async def _announce(self, waited_s: float) -> None:
        key = self.key
        assert key is not None
        await insist(lambda: self._context.store.start(key, waited_s))
        self.announced = True

    def _needs(self, order: Order) -> Needs:
        return needs(order.graph, self._context.catalog, order.spec.targets)

    def _result(self, order: Order, entry: HistoryEntry, outputs: tuple[Output, ...]) -> Result:
        if entry.started_at is not None and entry.ended_at is not None:
            execute_s = max(0.0, entry.ended_at - entry.started_at)
        else:
            execute_s = monotonic() - (self.scope.started_at or self.prompt.posted_at)
        load_s = min(self._load_s or 0.0, execute_s)
        reports = entry.reports.get(order.spec.gate.report, ()) if order.spec.gate else ()
        shown = self.harvest.shown if self.harvest else ()
        residency = self._context.residency.report()
        return Result(
            outputs,
            execute_s,
            load_s,
            residency,
            read_scores(reports),
            min(scoring_s(reports), execute_s),
            shown,
            self.prompt.times.seconds(),
        )

    def _judge(self, verdict: Verdict) -> Outcome:
        match verdict:
            case Fail(error=error) | Rerun(error=error):
                return Failed(error)
            case Retry(error=error):
                return Lost(error)
            case OutOfMemory(error=error, on_device=on_device):
                return too_large(error, on_device, self._context.info)
            case _ if self.scope.why is Stop.CANCEL:
                return Canceled()
            case _:
                message = f"somebody else interrupted it on {self._context.info.url}"
                return Lost(JobError("interrupted", message))

    async def _give_up(self, timeout_s: float) -> Outcome:
        """What becomes of a run that was stopped, or whose time is up."""
        why = self.scope.why
        if not await self.prompt.halt(HALT_GRACE_S + (timeout_s if why else 0.0)):
            self._context.end(End.GONE, f"run {self.run_id} does not stop when it is told to: restart its ComfyUI")
        match self.scope.why:
            case None:
                message = f"it executed for longer than its timeout_s of {timeout_s:g}: allow more, or ask for less"
                return Failed(JobError("timeout", message))
            case Stop.CANCEL:
                await self._learn_history()
                return Canceled()
            case Stop.DROP:
                return Dropped()
            case Stop.RETURN:
                return Lost(JobError("returned", self.scope.note), free=True)
            case Stop.LOSE:
                error = JobError("worker_lost", f"its worker went away: {self.scope.note}")
                return Lost(error, free=not self.prompt.posted)
            case Stop.LEAVE:
                return Left()

    async def _learn_history(self) -> None:
        """What ComfyUI keeps of a run that was stopped."""
        if self.relay is not None and self.prompt.posted:
            with suppress(WorkerFault):
                entry = await self._context.client.history(self.run_id)
                self._history = entry.document if entry else None

    async def _settle(self, key: RunKey, outcome: Outcome) -> None:
        """Tells the store."""
        store, relay = self._context.store, self.relay
        if relay is not None and isinstance(outcome, Done | Failed | Canceled):
            await insist(lambda: relay.finish(self._history))
        match outcome:
            case Done(result=result):
                self._context.told = result.residency
                await insist(lambda: store.commit(key, result))
            case Failed(error=error):
                await insist(lambda: store.fail(key, error))
            case Lost(error=error, free=free, vram_over=vram_over):
                if not free:
                    metrics.RETRIES.labels(key.worker, error.code).inc()
                await insist(lambda: store.retry(key, error.message, error=error, free=free, vram_over=vram_over))
            case Canceled():
                await insist(lambda: store.stopped(key))
            case Dropped() | Left():
                pass

    async def _is_over(self) -> bool:
        """Whether nobody will work on the run any more; then what was stored for it goes, unless it is seen."""
        try:
            state = (await insist(lambda: self._context.store.order(self.run_id))).run.state
        except NotFound:
            state = None
        if state is not None and state not in TERMINAL:
            return False
        if self.harvest is not None and state is not RunState.SUCCEEDED:
            await self.harvest.discard(unless_shown=state is RunState.LOST)
        return True
