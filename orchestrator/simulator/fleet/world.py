"""A fleet in virtual time: arrivals, loading, execution, failures; one policy decides, and is told what agents tell.

Nothing here waits: time jumps from one event to the next. What the policy orders is checked as the store would, and
each job has to end once, or there is no result.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.domain.ids import uuid7
from orchestrator.domain.run import QueueEntry, RunState
from orchestrator.domain.worker import WorkerState
from orchestrator.scheduling.models import Offer
from orchestrator.simulator.fleet.hardware import Hardware, Outage
from orchestrator.simulator.fleet.machine import Machine
from orchestrator.simulator.fleet.policies.port import Orders, Policy
from orchestrator.simulator.fleet.workload import CLASSES, Request, Workload
from orchestrator.store.port import RunEnd

EPOCH = 1_800_000_000.0  # Unix seconds when the simulation's clock shows 0
RESTLESS = 1000  # decisions in a row, without a moment passing, that show that a policy goes round in circles


@dataclass(slots=True)
class Live:
    """A job that has not ended, as its newest run."""

    request: Request
    entry: QueueEntry
    machine: Machine | None = None


@dataclass(slots=True)
class Outcome:
    """What came of a workload. `ended`: request and when its job ended, in order of ending."""

    ended: list[tuple[Request, float]] = field(default_factory=list[tuple[Request, float]])
    loads: int = 0
    loaded_bytes: int = 0
    swaps: int = 0  # runs whose loading pushed something else out of VRAM
    staged_bytes: int = 0
    load_s: float = 0.0
    busy_s: float = 0.0  # executing what ended well
    up_s: float = 0.0  # of all workers, until the last job ended
    lost: int = 0  # runs that a failure ended


class World:
    """See the module. Used once."""

    def __init__(self, workload: Workload, fleet: list[Hardware], policy: Policy, seed: int) -> None:
        self._requests = workload.requests
        self._policy = policy
        self._ids = random.Random(f"{seed}/ids")
        self._files = {file.ref: file for file in workload.popular}
        offer = Offer(frozenset(CLASSES), frozenset(self._files), frozenset(ref.folder for ref in self._files))
        self._machines = {it.info.id: Machine(it, workload.popular, offer, policy.free_loads) for it in fleet}
        self._live: dict[str, Live] = {}
        self._events: list[tuple[float, int, Callable[..., None], Any]] = []
        self._count = 0
        self._outcome = Outcome()

    def run(self, progress: Callable[[int], None] | None = None) -> Outcome:
        """Until every job has ended. `progress` is told how many have."""
        for machine in self._machines.values():
            self._tell(machine, WorkerState.STARTING, 0.0)
            self._at(machine.hardware.ready_at, self._ready, machine)
            for outage in machine.hardware.outages:
                self._at(outage.at, self._fail, (machine, outage))
        arrivals, total = 0, len(self._requests)
        now, wake_at, restless = 0.0, None, 0
        while len(self._outcome.ended) < total:
            due = [self._requests[arrivals].at] if arrivals < total else []
            due += [self._events[0][0]] if self._events else []
            due += [wake_at] if wake_at is not None else []
            if not due:
                raise AssertionError(f"{self._policy.name} leaves {len(self._live)} jobs waiting for ever")
            before, now = now, max(now, min(due))
            restless = restless + 1 if now == before else 0
            if restless > RESTLESS:
                raise AssertionError(f"{self._policy.name} goes round in circles at {now:.3f} s")
            while arrivals < total and self._requests[arrivals].at <= now:
                self._arrive(self._requests[arrivals], now)
                arrivals += 1
            while self._events and self._events[0][0] <= now:
                _, _, action, target = heapq.heappop(self._events)
                action(target, now)
            orders = self._policy.decide(now)
            self._carry_out(orders, now)
            wake_at = orders.wake_at
            if progress is not None:
                progress(len(self._outcome.ended))
        for machine in self._machines.values():
            machine.tiers.settle(now)
            self._outcome.staged_bytes += machine.tiers.staged_bytes
            self._outcome.up_s += machine.up_s(now)
        return self._outcome

    # Events

    def _at(self, time: float, action: Callable[..., None], target: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, action, target))

    def _arrive(self, request: Request, now: float) -> None:
        run_id = self._run_id(now)
        self._queue(request, QueueEntry(
            run_id, run_id, 1, "default", "normal", EPOCH + request.at, request.profile, request.needs,
            tenant=request.tenant,
        ), now)  # fmt: skip

    def _ready(self, machine: Machine, now: float) -> None:
        machine.came_up(now)
        self._tell(machine, WorkerState.READY, now)

    def _fail(self, target: tuple[Machine, Outage], now: float) -> None:
        """Memory is lost and nothing happens any more; who is not told goes on giving it runs."""
        machine, outage = target
        machine.went_down(now)
        self._at(outage.noticed, self._notice, machine)
        self._at(outage.starts, self._start_again, machine)
        self._at(outage.ready, self._ready, machine)

    def _notice(self, machine: Machine, now: float) -> None:
        """The runs that it had go elsewhere: that which executed was lost there, the others had not begun."""
        self._tell(machine, WorkerState.DOWN, now)
        executing = machine.executing
        machine.executing = None
        for run_id in machine.drop_all():
            live = self._live.pop(run_id)
            lost = run_id == executing
            self._outcome.lost += lost
            was = live.entry
            self._policy.ended(was, machine.id, RunEnd(RunState.LOST if lost else RunState.RETURNED), now)
            avoid = (*was.avoid, machine.id) if lost and machine.id not in was.avoid else was.avoid
            entry = replace(was, run_id=self._run_id(now), attempt=was.attempt + 1, avoid=avoid)
            self._queue(live.request, entry, now)

    def _start_again(self, machine: Machine, now: float) -> None:
        self._tell(machine, WorkerState.STARTING, now)

    def _end(self, target: tuple[Machine, int, str, float, float], now: float) -> None:
        machine, life, run_id, load_s, execute_s = target
        if life != machine.life:
            return  # it went down before
        live = self._live.pop(run_id)
        self._outcome.ended.append((live.request, now))
        self._outcome.busy_s += execute_s
        end = machine.finished(run_id, load_s + execute_s, now)
        self._policy.ended(live.entry, machine.id, end, now)
        self._begin_next(machine, now)

    def _fetched(self, machine: Machine, now: float) -> None:
        """Something may have come to its disk, and the next is awaited."""
        machine.fetched_at = None
        machine.tiers.settle(now)
        if machine.restock():
            self._tell(machine, machine.told, now)
        self._await_fetched(machine)

    # What is done

    def _queue(self, request: Request, entry: QueueEntry, now: float) -> None:
        self._live[entry.run_id] = Live(request, entry)
        self._policy.queued(entry, now)

    def _carry_out(self, orders: Orders, now: float) -> None:
        for run_id, worker_id in orders.placements:
            live, machine = self._live.get(run_id), self._machines[worker_id]
            if live is None or live.machine is not None or machine.told is not WorkerState.READY:
                raise AssertionError(f"{self._policy.name} gives {run_id} to {worker_id}, which the store would refuse")
            live.machine = machine
            machine.has.append(run_id)
            self._begin_next(machine, now)
        for worker_id, refs in orders.staging:
            machine = self._machines[worker_id]
            if machine.is_up:
                machine.tiers.stage([self._files[ref] for ref in refs], now)

        for worker_id, refs in orders.fetching:
            machine = self._machines[worker_id]
            if machine.is_up:
                machine.tiers.fetch([self._files[ref] for ref in refs], now)
                self._await_fetched(machine)

    def _await_fetched(self, machine: Machine) -> None:
        at = machine.tiers.fetched_at()
        if at is not None and at != machine.fetched_at:
            machine.fetched_at = at
            self._at(at, self._fetched, machine)

    def _begin_next(self, machine: Machine, now: float) -> None:
        if machine.executing is not None or not machine.has or not machine.is_up:
            return
        run_id = machine.executing = machine.has[0]
        request = self._live[run_id].request
        loaded = machine.load(request.files, now)
        outcome = self._outcome
        outcome.loads += loaded.files
        outcome.loaded_bytes += loaded.bytes
        outcome.load_s += loaded.seconds
        outcome.swaps += loaded.pushed_out > 0
        self._policy.started(run_id, machine.id, now)
        execute_s = request.execute_s * machine.hardware.pace
        ends = now + loaded.seconds + execute_s
        self._at(ends, self._end, (machine, machine.life, run_id, loaded.seconds, execute_s))

    def _tell(self, machine: Machine, state: WorkerState, now: float) -> None:
        machine.told = state
        self._policy.worker(machine.worker(), machine.offer, machine.contents, now)

    def _run_id(self, now: float) -> str:
        return uuid7(int((EPOCH + now) * 1000), self._ids.getrandbits(74))
