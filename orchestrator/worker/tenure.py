"""Tenure: a driver's hold on its worker, from registering it to losing it.

Everything in it is true of one epoch of the worker in the store and of one start of its ComfyUI; when either may have
changed, the tenure ends and the driver begins another. So a crash of ours, a restart of ComfyUI and a lost connection
are recovered from on one path: register, adopt the runs that ComfyUI still has, stop those that it should not have.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

from orchestrator.comfy.client import ComfyClient
from orchestrator.delivery.storage import Storage
from orchestrator.domain.job import JobError
from orchestrator.domain.worker import WorkerEvent, WorkerState
from orchestrator.errors import NotFound, Superseded, WorkerFault
from orchestrator.settings import LeaseSettings, WatchdogSettings
from orchestrator.store.port import Duties, Mail, MailKind, RunKey
from orchestrator.worker.backoff import insist
from orchestrator.worker.cancellation import Stop
from orchestrator.worker.collector import Collector
from orchestrator.worker.context import AgentStore, End, WorkerContext
from orchestrator.worker.digests import ModelDigests
from orchestrator.worker.execution import Execution
from orchestrator.worker.fetching import Fetcher, lacking
from orchestrator.worker.gauge import Gauge
from orchestrator.worker.host import Host
from orchestrator.worker.inspection import Inspection, inspect
from orchestrator.worker.monitor import GONE_AFTER_S, RETRY_S, Monitor
from orchestrator.worker.orphans import stop_orphans
from orchestrator.worker.prefetch import Prefetcher
from orchestrator.worker.reporter import Reporter
from orchestrator.worker.residency import WorkerMemory
from orchestrator.worker.staging import Stager
from orchestrator.worker.warming import Warmups
from orchestrator.worker.watchdog import Budgets

log = logging.getLogger(__name__)

ERASE_S = 0.5


@dataclass(frozen=True, slots=True)
class Ending:
    why: End
    note: str


class Tenure:
    """Serves once. `beaten_at`: when the store last said that the worker is ours, by the monotonic clock."""

    def __init__(
        self, host: Host, store: AgentStore, storage: Storage, leases: LeaseSettings, watchdog: WatchdogSettings
    ) -> None:
        self.beaten_at = monotonic()
        self._host = host
        self._info = replace(host.info, lock=None)  # until it is compared with it
        self._store = store
        self._storage = storage
        self._leases = leases
        self._budgets = Budgets(watchdog.step_s, watchdog.node_s)
        self._epoch = 0
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._group = asyncio.TaskGroup()
        self._clients = AsyncExitStack()
        self._context: WorkerContext | None = None  # once what the store has for us is taken up
        self._gauge: Gauge | None = None
        self._warmups: Warmups | None = None
        self._readers: dict[MailKind, Prefetcher | Fetcher] = {}  # of models ahead of need
        self._anew = False
        self._executions: dict[str, Execution] = {}
        self._runs: set[asyncio.Task[None]] = set()
        self._freeing: asyncio.Task[None] | None = None
        self._untouched: set[str] = set()  # runs that are ours in the store, and that nothing here works on
        self._leaving: Ending | None = None  # how it ends once what executes is done
        self._ready = False
        self._quarantined = False

    async def serve(self, anew: bool) -> Ending:
        """Until it ends; then nothing here works on a run any more. `anew`: what its ComfyUI had may be gone."""
        self._anew = anew
        duties = await insist(lambda: self._store.register(self._info))
        self._epoch, self._untouched = duties.epoch, set(duties.runs)
        async with self._clients, self._group as group:
            chores = [group.create_task(self._beat()), group.create_task(self._work(duties))]
            ending = await self._ending
            for chore in filter(None, (*chores, self._freeing)):
                chore.cancel()
            await self._wind_up(ending)
        return ending

    def deliver(self, mail: Mail) -> None:
        """Mail for this worker. What comes too early, a heartbeat brings again."""
        if self._context is None or self._ending.done():
            return
        if mail.kind is MailKind.FREE:
            self._freeing = self._freeing or self._group.create_task(self._free(self._context))
        elif mail.kind is MailKind.ASSIGN and mail.run_id:
            self._take(self._context, mail.run_id)
        elif mail.kind is MailKind.WARM and mail.run_id and self._warmups is not None:
            self._start(self._warm(self._warmups, mail.run_id))
        elif mail.kind in self._readers:
            self._readers[mail.kind].want(mail.files)
        elif mail.kind is MailKind.CANCEL and mail.run_id in self._executions:
            self._executions[mail.run_id].stop(Stop.CANCEL)

    def drain(self) -> None:
        """Takes nothing new, gives back what waits, and ends when what executes is done."""
        ending = Ending(End.DRAINED, "the agent of its worker was stopped")
        if not self._epoch:  # the store does not know of us yet
            self._leave(ending)
        elif not self._ending.done():
            self._leaving = ending
            self._group.create_task(self._take_leave(ending, WorkerEvent.DRAIN))

    # --- what the host tells ---

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def busy_since(self) -> float | None:
        return min((execution.prompt.there_since for execution in self._executions.values()), default=None)

    def end(self, why: End, note: str) -> None:
        """Ends at once, if nothing did before."""
        if not self._ending.done():
            self._ending.set_result(Ending(why, note))

    def retire(self, note: str) -> None:
        """Ends when what executes is done, so that its ComfyUI can be replaced."""
        if self._ready and self._leaving is None:
            self._leaving = Ending(End.WORN, note)
            self._group.create_task(self._take_leave(self._leaving, WorkerEvent.RECYCLE))

    async def abandon(self, note: str) -> None:
        """Gives back what its former ComfyUI had."""
        self._anew = True
        untouched, self._untouched = self._untouched, set()
        for run_id in untouched:
            await self._give_back(run_id, note)

    async def tell(self, event: WorkerEvent | None, note: str) -> None:
        """Has operators see it."""
        try:
            await insist(lambda: self._store.report_worker(self._info.id, self._epoch, event, note))
        except Superseded as error:
            self.end(End.SUPERSEDED, error.message)
        if event is not None:
            self._quarantined = event is WorkerEvent.QUARANTINE
        if self._quarantined:
            log.warning("%s: quarantined: %s", self._info.id, note)

    # --- the work ---

    async def _work(self, duties: Duties) -> None:
        try:
            client = await self._clients.enter_async_context(ComfyClient(await self._host.start(self)))
            self._info = self._host.info
            inspection = await self._inspect(client)
            context = self._equip(client, inspection)
            if not self._anew:
                context.residency.resume(duties.residency)
            gauge = self._gauge = Gauge(context, self._executions, self._epoch)
            warmups = self._warmups = Warmups(context, gauge, self._epoch, self._is_wanted, partial(self.tell, None))
            self._readers[MailKind.PREFETCH] = Prefetcher(self._host.model_file, gauge.staged)
            tell_models = partial(self._tell_models, context.digests)
            if supply := self._host.supply:
                fetcher = Fetcher(supply, self._host.model_file, context, tell_models, partial(self.tell, None))
                self._readers[MailKind.FETCH] = fetcher
            monitor = Monitor(context, self._executions, warmups.prompts)
            async with asyncio.TaskGroup() as group:
                group.create_task(monitor.look())
                group.create_task(monitor.listen())
                group.create_task(Reporter(self._store, self._executions).run())
                group.create_task(self._erase(context))
                group.create_task(gauge.run())
                for reader in self._readers.values():
                    group.create_task(reader.run())
                group.create_task(self._host.watch(self))
                await self._adopt(context, duties)
                await stop_orphans(context, self._executions)
                await self._host.accept(client, inspection.catalog)
                await gauge.look()
                info, document, digests = inspection.info, inspection.object_info, context.digests
                await insist(lambda: self._store.inspected(info, self._epoch, document, digests.contents))
                self._ready = True
                log.info("%s: ready (ComfyUI %s)", info.id, info.comfyui_version)
                await digests.run(tell_models, context.doubt)
        except* WorkerFault as faults:
            self.end(End.GONE, str(faults.exceptions[0]))
        except* Superseded as taken:
            self.end(End.SUPERSEDED, str(taken.exceptions[0]))

    async def _tell_models(self, digests: ModelDigests) -> None:
        """As they are when the store takes it: two may tell at once, and no retry is to bring back what was."""
        await insist(lambda: self._store.report_models(self._info.id, self._epoch, digests.contents))

    async def _inspect(self, client: ComfyClient) -> Inspection:
        """Raises WorkerFault when ComfyUI does not answer for as long as that is no mere delay."""
        since, remote = monotonic(), await asyncio.to_thread(lacking, self._host)
        while True:
            try:
                return await inspect(client, self._info, remote)
            except WorkerFault as fault:
                if monotonic() - since >= GONE_AFTER_S[fault.code]:
                    raise
            await asyncio.sleep(RETRY_S)

    def _equip(self, client: ComfyClient, inspection: Inspection) -> WorkerContext:
        doubted = asyncio.Event()
        info = inspection.info
        return WorkerContext(
            info=info,
            store=self._store,
            client=client,
            stager=Stager(client, self._storage, self._store.asset, inspection.upload_limit, doubted.set),
            collector=Collector(client, self._storage, doubted.set),
            catalog=inspection.catalog,
            residency=WorkerMemory(info.vram_bytes, info.ram_bytes, inspection.sizes),
            digests=ModelDigests(client, inspection.sizes, self._host.locked, inspection.remote),
            doubted=doubted,
            end=self.end,
            complain=self._host.complain,
            budgets=self._budgets,
        )

    async def _adopt(self, context: WorkerContext, duties: Duties) -> None:
        """Takes up what an earlier tenure left."""
        queue = await insist(context.client.queue, context.doubt)
        for run_id in [run_id for run_id in duties.runs if run_id in self._untouched]:
            history = partial(context.client.history, run_id)
            found = run_id in queue or await insist(history, context.doubt) is not None
            self._take(context, run_id, found, adopted=True)
        for run_id in self._executions.keys() & duties.canceling:
            self._executions[run_id].stop(Stop.CANCEL)
        self._context = context

    async def _free(self, context: WorkerContext) -> None:
        await context.free()
        if self._gauge is not None:
            await self._gauge.look()
        self._freeing = None

    async def _erase(self, context: WorkerContext) -> None:
        """Keeps ComfyUI's history short: a batch now and then."""
        while True:
            await asyncio.sleep(ERASE_S)
            await insist(context.erase_finished, context.doubt)

    # --- runs ---

    def _take(self, context: WorkerContext, run_id: str, found: bool = False, adopted: bool = False) -> None:
        """Sees to a run, unless it is seen to already."""
        if run_id in self._executions or self._ending.done():
            return
        if self._leaving is not None:
            self._untouched.add(run_id)
            return
        self._untouched.discard(run_id)
        execution = self._executions[run_id] = Execution(run_id, context, found, adopted)
        if self._warmups is not None:
            self._warmups.give_up()
        self._start(self._execute(execution))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """What has to come to its end before this does."""
        task = self._group.create_task(work)
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    async def _warm(self, warmups: Warmups, warmup_id: str) -> None:
        try:
            await warmups.serve(warmup_id)
        except Superseded as error:
            self.end(End.SUPERSEDED, error.message)
        if not self._ending.done():
            self._host.over(warmup_id)

    def _is_wanted(self) -> bool:
        """There is something to do, or this is about to end."""
        return bool(self._executions) or self._leaving is not None or self._ending.done()

    async def _execute(self, execution: Execution) -> None:
        try:
            await execution.run()
        finally:
            del self._executions[execution.run_id]
        if self._gauge is not None:
            self._gauge.stir()
        if execution.prompt.posted and not self._ending.done():
            self._host.over(execution.run_id)
        self._end_if_left()

    async def _beat(self) -> None:
        """Keeps the lease, and agrees with the store on what there is to do."""
        while True:
            await asyncio.sleep(self._leases.heartbeat_s)
            known, quarantined = list(self._executions), self._quarantined
            try:
                duties = await insist(lambda: self._store.heartbeat(self._info.id, self._epoch))
            except Superseded as error:
                return self.end(End.SUPERSEDED, error.message)
            self.beaten_at = monotonic()
            if duties.state is WorkerState.RECYCLING:
                self._host.complain("recycled by an operator")  # for the next agent, should this one not live to see it
                self.retire("recycled by an operator")
            if quarantined and duties.state is not WorkerState.QUARANTINED:
                self._quarantined = False
                self._host.resume()
            if self._context is not None:
                self._reconcile(self._context, duties, known)

    def _reconcile(self, context: WorkerContext, duties: Duties, known: Iterable[str]) -> None:
        """`known`: what was worked on when the store was asked; what came since, it may not have told."""
        for run_id in known:
            execution = self._executions.get(run_id)
            if execution is None:
                continue
            if run_id in duties.canceling:
                execution.stop(Stop.CANCEL)
            elif run_id not in duties.runs:
                execution.stop(Stop.DROP)
        for run_id in duties.runs:
            self._take(context, run_id)

    # --- the end ---

    async def _take_leave(self, ending: Ending, event: WorkerEvent) -> None:
        await self.tell(event, ending.note)  # first, so that nothing comes after what is given back
        self._leave(ending)

    def _leave(self, ending: Ending) -> None:
        self._leaving = ending
        for execution in self._executions.values():
            execution.stop(Stop.RETURN, ending.note)
        if self._warmups is not None:
            self._warmups.give_up()
        self._end_if_left()

    def _end_if_left(self) -> None:
        if self._leaving is not None and not self._executions:
            self.end(self._leaving.why, self._leaving.note)

    async def _wind_up(self, ending: Ending) -> None:
        """Has every run come to its end. The worker is given up first, so that none of them is sent back to it."""
        log.info("%s: %s: %s", self._info.id, ending.why, ending.note)
        self._host.release(ending.why, ending.note)
        leaving = ending.why in (End.CHANGED, End.SUPERSEDED)
        if not leaving and ending.why is not End.WORN:
            with suppress(Superseded):
                await insist(lambda: self._store.lost_worker(self._info.id, self._epoch, ending.note))
        for execution in self._executions.values():
            execution.stop(Stop.LEAVE if leaving else Stop.LOSE, ending.note)
        if self._warmups is not None:
            self._warmups.give_up(Stop.LOSE)
        if self._runs:
            await asyncio.wait(self._runs)
        if self._context is not None and ending.why not in (End.GONE, End.SICK):
            with suppress(WorkerFault):
                await self._context.erase_finished()
        if not leaving:
            await self.abandon(ending.note)

    async def _give_back(self, run_id: str, note: str) -> None:
        with suppress(NotFound, Superseded):
            order = await insist(lambda: self._store.order(run_id))
            key = RunKey(run_id, order.run.attempt, self._info.id)
            error = JobError("worker_lost", f"its worker went away: {note}")
            await insist(lambda: self._store.retry(key, error.message, error=error, free=True))
