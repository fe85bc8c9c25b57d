"""Warmer: has the workflows that fleet.yaml names be warm on some workers of their pool, while this controller leads.

What is missing where, and when it makes sense to try, scheduling/warmth.py decides; this reads the workflows, has the
decision's orders sent to the agents, and says what it cannot bring about. The queue comes first: a worker that it could
give something to do is left alone.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Protocol

from orchestrator.controller.catalogs import Catalogs
from orchestrator.controller.registry import Compiled, Registry
from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.domain.warmup import Warmed, WarmEnd, Warmup
from orchestrator.domain.worker import WorkerState
from orchestrator.domain.workflow import ParamKind
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.graph.bind import patch
from orchestrator.graph.needs import needs
from orchestrator.graph.shape import Graph
from orchestrator.scheduling.feasible import able, fits
from orchestrator.scheduling.fleet import WorkerView
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.pool import Pool
from orchestrator.scheduling.queue import Group
from orchestrator.scheduling.warmth import Order, Seen, Warmth, Wish
from orchestrator.settings import PoolSettings

log = logging.getLogger(__name__)

LOOK_S = 0.5
REFRESH_S = 10.0  # between two looks at which versions are active, and what the workers offer
IDLE_S = 2.0  # after its last run, before a worker counts as having nothing to do
ANSWER_S = 60.0  # for a driver to say that a warm-up is over, beyond the timeout of its workflow
HEADS = 16  # groups of queued runs that a worker is held against


class WarmerStore(Protocol):
    """What is asked of the store."""

    async def workflows(self) -> Mapping[str, int]: ...
    async def warm(self, worker_id: str, epoch: int, warmup: Warmup, within_s: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Target:
    """A workflow that is to be warm, ready to be executed."""

    compiled: Compiled
    needs: Needs

    @property
    def name(self) -> str:
        return self.compiled.workflow.name

    @property
    def within_s(self) -> float:
        """In which a driver says that its warm-up is over."""
        return self.compiled.workflow.timeout_s + ANSWER_S

    def graph(self) -> Graph:
        """With defaults and drawn seeds; what has neither stays as it was exported."""
        compiled = self.compiled
        params = {**compiled.draws(), **compiled.schema.defaults()}
        return patch(compiled.workflow.graph, compiled.workflow.bind, params)

    def group(self, pool: str) -> Group:
        """The same, as the checks of the scheduler take it."""
        return Group(pool, self.needs, (), ())


@dataclass(slots=True)
class _Kept:
    """A pool that is kept warm."""

    name: str
    workflows: tuple[str, ...]
    warmth: Warmth
    targets: list[_Target] = field(default_factory=list[_Target])
    refresh_at: float = -inf
    told: dict[str, str] = field(default_factory=dict[str, str])  # by workflow, what the log has already

    def tell(self, workflow: str, what: str) -> None:
        """Once, until it changes; nothing when all is as wanted."""
        if self.told.get(workflow, "") != what:
            self.told[workflow] = what
            level = logging.WARNING if what else logging.INFO
            log.log(level, "pool %s, %s: %s", self.name, workflow, what or "it is warm as wanted again")


class Warmer:
    """`keep` for one index at a time. What was learned of warm-ups outlives it."""

    def __init__(
        self, store: WarmerStore, registry: Registry, catalogs: Catalogs, pools: Mapping[str, PoolSettings]
    ) -> None:
        self._store = store
        self._registry = registry
        self._catalogs = catalogs
        self._pools = [_Kept(name, pool.warm, Warmth(pool.min_warm)) for name, pool in pools.items() if pool.warm]

    async def keep(self, index: Index, clock: Callable[[], float]) -> None:
        """Until cancelled."""
        while self._pools:
            for kept in self._pools:
                pool = index.pools.get(kept.name)
                if pool is not None and any(view.state is WorkerState.READY for view in pool.fleet.workers.values()):
                    if clock() >= kept.refresh_at:
                        await self._refresh(kept, clock())
                    await self._keep(index, pool, kept, clock)
            await asyncio.sleep(LOOK_S)

    def ended(self, worker_id: str, warmed: Warmed, vram: frozenset[ModelRef], now: float) -> None:
        """A warm-up is over, and left these in the worker's VRAM."""
        warmth = next((kept.warmth for kept in self._pools if kept.warmth.expects(worker_id)), None)
        if warmth is None:
            return  # it was an order of the leader before us
        if warmed.end is WarmEnd.GIVEN_UP:
            warmth.given_up(worker_id)
            return
        warmth.ended(worker_id, warmed.workflow, warmed.end is WarmEnd.DONE, now, vram)
        if warmed.end is WarmEnd.FAILED:
            log.warning("%s could not be warmed up for %s: %s", worker_id, warmed.workflow, warmed.note)
        elif missed := sorted(file.name for file in warmth.missed(worker_id, warmed.workflow)):
            told = "%s was warmed up for %s, and its ComfyUI keeps these out of VRAM: %s"
            log.warning(told, worker_id, warmed.workflow, ", ".join(missed))

    # --- what is wanted ---

    async def _refresh(self, kept: _Kept, now: float) -> None:
        """Which versions are active, and what they need, by what the workers offer."""
        catalog = await self._catalogs.of(kept.name) or await self._catalogs.fresh(kept.name)
        if catalog is None:
            return
        kept.refresh_at = now + REFRESH_S
        active = await self._store.workflows()
        kept.targets = []
        for name in kept.workflows:
            try:
                if name not in active:
                    raise NotFound("workflow_not_found", "no workflow of that name is registered")
                compiled = await self._registry.compiled(name, active[name])
                _check(compiled, kept.name)
            except (NotFound, InvalidRequest) as error:
                kept.tell(name, f"it is not kept warm: {error.message}")
            else:
                wanted = needs(compiled.workflow.graph, catalog, compiled.workflow.outputs)
                kept.targets.append(_Target(compiled, wanted))

    # --- what is done about it ---

    async def _keep(self, index: Index, pool: Pool, kept: _Kept, clock: Callable[[], float]) -> None:
        warmth, targets = kept.warmth, kept.targets
        warmth.wishes = tuple(Wish(target.name, index.sizes(target.needs.models)) for target in targets)
        index.keep(pool.name, {model: warmth.min_warm for target in targets for model in target.needs.models})
        groups = [target.group(pool.name) for target in targets]
        views = [view for view in pool.fleet.workers.values() if view.state is WorkerState.READY]
        plan = warmth.plan([_seen(view, pool, groups, targets, clock()) for view in views], clock())
        for order in plan.orders:
            target = next(each for each in targets if each.name == order.workflow)
            warmth.ordered(order, clock(), target.within_s)  # first, as the answer may be quick
            sent = False
            try:
                sent = await self._send(order, pool, target)
            finally:
                if not sent:
                    warmth.given_up(order.worker)
        for target in targets:
            short = plan.short.get(target.name)
            kept.tell(target.name, f"it is {short}" if short else "")

    async def _send(self, order: Order, pool: Pool, target: _Target) -> bool:
        workflow = target.compiled.workflow
        warmup = Warmup(str(uuid.uuid4()), workflow.name, target.graph(), workflow.outputs, workflow.timeout_s)
        view = pool.fleet.workers[order.worker]
        if not await self._store.warm(view.id, view.epoch, warmup, target.within_s):
            return False  # it is not as it was seen, and will be seen anew
        log.info("%s is warmed up for %s", order.worker, order.workflow)
        return True


def _check(compiled: Compiled, pool: str) -> None:
    """Raises InvalidRequest for what cannot be kept warm there."""
    workflow, defaults = compiled.workflow, compiled.schema.defaults()
    if workflow.pool != pool:
        raise InvalidRequest("other_pool", f"its jobs go to pool {workflow.pool}: name it there")
    for param, binding in workflow.bind.items():
        if binding.kind is not ParamKind.VALUE and param not in defaults:
            told = f"a warm-up has no file for its param {param}: name one that loads the same models without"
            raise InvalidRequest("needs_a_file", told)


def _seen(view: WorkerView, pool: Pool, groups: list[Group], targets: list[_Target], now: float) -> Seen:
    could = bool(fits(view, islice(pool.queue.line, HEADS), pool.fleet, 1))
    busy = bool(view.held or view.delivering or view.doubted) or now - view.since < IDLE_S
    return Seen(
        view.id,
        view.epoch,
        view.memory.vram_bytes,
        frozenset(target.name for target, group in zip(targets, groups, strict=True) if able(view, group)),
        frozenset(file.ref for file in view.memory.vram),
        idle=not busy and not could,
    )
