"""Dispatcher: carries out what scheduling.policy decides, while this controller leads. A thin shell.

It starts from a snapshot, then follows the feed. Nothing ticks: a change wakes it, and so does the time at which the
last plan wants to be looked at again. What changes while an assignment is on its way is decided upon together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Protocol

from orchestrator.controller.leadership import Leadership
from orchestrator.controller.metrics import DispatchMetrics
from orchestrator.controller.offers import CatalogReads, ModelContents, Offers
from orchestrator.controller.warmer import Warmer
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Worker
from orchestrator.errors import Busy, NotFound, Retryable
from orchestrator.scheduling.demand import demands
from orchestrator.scheduling.fetch import FETCH_S, Fetches
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.learned import Learned
from orchestrator.scheduling.outlook import outlook
from orchestrator.scheduling.policy import Plan, Rules, decide
from orchestrator.store.port import (
    Assignment,
    DispatchStore,
    FeedItem,
    FeedKind,
    Mail,
    MailKind,
    OutlookStore,
    RunEnd,
    Snapshot,
)

log = logging.getLogger(__name__)

SAVE_S = 10.0  # what was learned is saved this often: losing some of it costs a little precision
DEMAND_S = 5.0  # how often autoscalers are told something new
CHUNK = 1000  # entries of a snapshot between which others get their turn
PAUSE_S = 0.5  # before a new snapshot after the feed broke off


class DispatcherStore(DispatchStore, CatalogReads, OutlookStore, Protocol):
    """What is asked of the store."""

    async def worker(self, worker_id: str) -> Worker: ...
    async def post(self, mail: Mail) -> None: ...


class Dispatcher:
    """See the module."""

    def __init__(
        self,
        store: DispatcherStore,
        leadership: Leadership,
        rules: Rules,
        metrics: DispatchMetrics,
        warmer: Warmer | None = None,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._rules = rules
        self._metrics = metrics
        self._offers = Offers(store)
        self._warmer = warmer

    async def run(self) -> None:
        """Until cancelled. A store that cannot be reached makes it start over when it can."""
        await self._leadership.while_leading(self._dispatch)

    async def _dispatch(self) -> None:
        while True:
            try:
                await _Term(self._store, self._offers, self._rules, self._metrics, self._warmer).run()
            except* (Busy, Retryable) as group:
                log.warning("dispatching starts over from a snapshot: %s", group.exceptions[0])
            await asyncio.sleep(PAUSE_S)


class _Term:
    """From one snapshot to the next: the index, and the tasks that keep it and use it."""

    def __init__(
        self,
        store: DispatcherStore,
        offers: Offers,
        rules: Rules,
        metrics: DispatchMetrics,
        warmer: Warmer | None,
    ) -> None:
        self._warmer = warmer
        self._store = store
        self._offers = offers
        self._contents = ModelContents(store)
        self._rules = rules
        self._metrics = metrics
        self._index = Index(weights=rules.weights)
        self._clock = asyncio.get_running_loop().time
        self._wake = asyncio.Event()
        self._changed_workers: set[str] = set()
        self._workers_changed = asyncio.Event()

    async def run(self) -> None:
        snapshot = await self._store.snapshot()
        await self._build(snapshot)
        log.info("dispatching: %d runs queued, %d workers known", len(self._index), len(snapshot.workers))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(snapshot.seq), name="dispatcher-feed")
            group.create_task(self._read_workers(), name="dispatcher-workers")
            group.create_task(self._decide(), name="dispatcher-decide")
            group.create_task(self._save(), name="dispatcher-save")
            group.create_task(self._order_fetches(), name="dispatcher-fetch")
            group.create_task(self._answer(), name="dispatcher-answers")
            group.create_task(self._tell_demand(), name="dispatcher-demand")
            if self._warmer is not None:
                group.create_task(self._warmer.keep(self._index, self._clock), name="dispatcher-warm")

    async def _build(self, snapshot: Snapshot) -> None:
        try:
            self._index = Index(Learned.load(snapshot.learned), self._rules.weights)
        except ValueError as error:
            log.warning("what was learned of execution times is lost, it is learned anew: %s", error)
        for worker in snapshot.workers:
            await self._note(worker)
        for worker_id, entry in snapshot.running:
            self._index.running(entry, worker_id, self._clock())
        async for page in snapshot.queued:
            for start in range(0, len(page), CHUNK):
                for entry in page[start : start + CHUNK]:
                    self._index.queued(entry, self._clock())
                await asyncio.sleep(0)

    # The feed

    async def _follow(self, after: int) -> None:
        async for items in self._store.feed(after):
            now = self._clock()
            for item in items:
                self._apply(item, now)
            self._wake.set()

    def _apply(self, item: FeedItem, now: float) -> None:
        match item.kind, item.run_id, item.worker:
            case FeedKind.QUEUED, _, _ if item.entry is not None:
                self._index.queued(item.entry, now)
            case FeedKind.GONE, str(run_id), _:
                self._index.gone(run_id, now)
            case FeedKind.ASSIGNED, str(run_id), str(worker_id):
                self._index.assigned(run_id, worker_id, now)
            case FeedKind.STARTED, str(run_id), str(worker_id):
                self._index.started(run_id, worker_id, now)
            case FeedKind.EXECUTED, str(run_id), str(worker_id):
                self._index.executed(run_id, worker_id, now)
            case FeedKind.ENDED, str(run_id), str(worker_id) if item.entry is not None and item.end is not None:
                self._ended(run_id, worker_id, item.entry, item.end, now)
            case FeedKind.RESIDENCY, _, str(worker_id) if item.residency is not None:
                self._index.holds(worker_id, item.residency, now)
            case FeedKind.WARMED, _, str(worker_id) if item.warmed is not None and item.residency is not None:
                self._index.holds(worker_id, item.residency, now)
                if self._warmer is not None:
                    self._warmer.ended(worker_id, item.warmed, frozenset(item.residency.vram), now)
            case FeedKind.WORKER, _, str(worker_id):
                self._changed_workers.add(worker_id)
                self._workers_changed.set()
            case _:
                raise ValueError(f"the feed has an item without what its kind needs: {item}")

    def _ended(self, run_id: str, worker_id: str, entry: QueueEntry, end: RunEnd, now: float) -> None:
        gpu = self._index.gpu(worker_id)
        held = self._index.ended(run_id, end.residency, now)
        if held is not None and end.execute_s is not None:
            self._index.learned.ran(entry.profile, gpu, worker_id, held.load_s, end.load_s or 0.0, end.execute_s)
        self._metrics.ended(entry.profile, end.state, end.execute_s, end.load_s)
        began_at = held.began_at if held is not None else None
        if began_at is None and end.execute_s is not None:
            began_at = now - end.execute_s  # a short run is over before its start is told
        if began_at is not None:
            total_s, gone_s = time.time() - entry.arrived_at, now - began_at
            self._metrics.waited(entry.profile, total_s - gone_s)
            if end.execute_s is not None:
                self._metrics.delivered(entry.profile, gone_s - end.execute_s, total_s)

    # Workers

    async def _read_workers(self) -> None:
        """Reads again the workers that changed, beside the feed, which does not wait for it."""
        while True:
            await self._workers_changed.wait()
            self._workers_changed.clear()
            changed, self._changed_workers = self._changed_workers, set()
            await asyncio.gather(*(self._read_worker(worker_id) for worker_id in sorted(changed)))
            self._wake.set()

    async def _read_worker(self, worker_id: str) -> None:
        try:
            worker = await self._store.worker(worker_id)
        except NotFound:
            self._index.forgotten(worker_id, self._clock())
            return
        await self._note(worker)

    async def _note(self, worker: Worker) -> None:
        contents = await self._contents.of(worker.models)
        offer = await self._offers.of(worker.info.catalog, contents)
        self._index.worker(worker, offer, self._clock(), contents)

    # Deciding

    async def _decide(self) -> None:
        wake_at: float | None = self._clock()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(wake_at):
                    await self._wake.wait()
            self._wake.clear()
            started = time.perf_counter()
            plan = decide(self._index, self._clock(), self._rules)
            self._metrics.decided(time.perf_counter() - started)
            wake_at = plan.wake_at
            await self._carry_out(plan)

    async def _carry_out(self, plan: Plan) -> None:
        for refusal in plan.refusals:
            log.warning("run %s is refused: %s", refusal.run_id, refusal.error.message)
            await self._store.refuse(refusal.run_id, refusal.attempt, refusal.error)
        if not plan.placements:
            return
        assignments = [Assignment(it.run_id, it.attempt, it.worker, it.reasons) for it in plan.placements]
        for placement, done in zip(plan.placements, await self._store.assign(assignments), strict=True):
            if not done:
                log.info("run %s was not assigned to %s: one of them has changed", placement.run_id, placement.worker)
                self._index.not_assigned(placement.run_id, self._clock())
        mails = (Mail(MailKind.PREFETCH, order.worker, files=order.files) for order in plan.prefetch)
        await asyncio.gather(*map(self._store.post, mails))

    async def _order_fetches(self) -> None:
        """Tells agents what to fetch, again and again: mail is a hint that may be lost."""
        fetches = Fetches(self._index)
        while True:
            for _ in fetches.look(self._clock()):
                await asyncio.sleep(0)
            mails = (Mail(MailKind.FETCH, worker, files=files) for worker, files in fetches.orders.items())
            await asyncio.gather(*map(self._store.post, mails))
            await asyncio.sleep(FETCH_S)

    async def _answer(self) -> None:
        """Tells whoever asks where a queued run stands, which nobody else knows."""
        async for question in self._store.questions():
            await self._store.answer(question, outlook(self._index, question.run_id, self._clock()))

    async def _tell_demand(self) -> None:
        try:
            while True:
                self._metrics.demanded(demands(self._index))
                await asyncio.sleep(DEMAND_S)
        finally:
            self._metrics.demanded({})

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            if self._index.learned.changed:
                await self._store.save_learned(self._index.learned.dump())
