"""How long a decision takes and what a queued run costs in memory, in a fleet under full load. Run by hand.

Seconds are CPU seconds, so that a busy machine does not show in them:

python tests/bench/decision.py [--workers 1000] [--queued 10000 100000 1000000] [--sets 1000] [--tenants 1000] [--json]

`comfyfleet bench` runs it with --json, where the repository is at hand.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import json
import random
import time
import tracemalloc
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from orchestrator.domain.ids import uuid7
from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Worker, WorkerInfo, WorkerState
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.models import Offer
from orchestrator.scheduling.policy import Plan, decide

T = TypeVar("T")

TARGET_P99_US = 50
TARGET_BYTES = 200
SHARES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
CLASSES = tuple(f"Node{n}" for n in range(12))


def needs_of(sets: int) -> list[Needs]:
    """A checkpoint each for every five sets, with a VAE and LoRAs of their own."""
    return [
        Needs(
            CLASSES,
            tuple(
                sorted(
                    (
                        ModelRef("checkpoints", f"base-{n // 5}.safetensors"),
                        ModelRef("loras", f"style-{n}.safetensors"),
                        ModelRef("vae", f"vae-{n % 7}.safetensors"),
                    )
                )
            ),
        )
        for n in range(sets)
    ]


def entries(sets: int, tenants: int, seed: int) -> Iterator[QueueEntry]:
    """Runs without end, one a millisecond, the popular sets more often, each on any tenant's account."""
    rng = random.Random(seed)
    needs = needs_of(sets)
    weights = [1 / (n + 1) for n in range(sets)]
    at = 1_800_000_000.0
    while True:
        for choice in rng.choices(range(sets), weights, k=1000):
            at += 0.001
            priority = rng.choices(("normal", "high", "low"), (8, 1, 1))[0]
            run_id = uuid7(int(at * 1000), rng.getrandbits(74))
            yield QueueEntry(
                run_id, run_id, 1, "default", priority, at, f"w{choice}@1", needs[choice],
                tenant=f"tenant-{rng.randrange(tenants)}",
            )  # fmt: skip


def fleet(index: Index, workers: int, sets: int) -> None:
    refs = frozenset(ref for needs in needs_of(sets) for ref in needs.models)
    offer = Offer(frozenset(CLASSES), refs, frozenset(ref.folder for ref in refs))
    for n in range(workers):
        info = WorkerInfo(f"worker-{n:04}", "http://gpu", "default", "agent", gpu="a100", vram_bytes=24 << 30)
        index.worker(Worker(info, WorkerState.READY, 1), offer, 0.0)


def fill(index: Index, source: Iterator[QueueEntry], queued: int) -> float:
    """Bytes of index per queued run."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(queued):
        index.queued(next(source), 0.0)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / queued


@dataclass
class Took:
    """CPU seconds of each decision that assigned something, arrival and completion."""

    decisions: list[float] = field(default_factory=list[float])
    arrivals: list[float] = field(default_factory=list[float])
    completions: list[float] = field(default_factory=list[float])

    def figures(self) -> dict[str, float]:
        told: dict[str, float] = {}
        for name, seconds in (("", self.decisions), ("arrival_", self.arrivals), ("completion_", self.completions)):
            seconds.sort()
            told |= {f"{name}{at}_us": seconds[int(share * len(seconds))] * 1e6 for at, share in SHARES.items()}
        return told


def timed(into: list[float], call: Callable[..., T], *args: Any) -> T:
    start = time.thread_time()
    answer = call(*args)
    into.append(time.thread_time() - start)
    return answer


def work(index: Index, source: Iterator[QueueEntry], decisions: int) -> Took:
    """Workers end their runs one after the other, a run arrives for each, and what to do is decided every time."""
    rng = random.Random(7)
    now = 0.0
    ends: list[tuple[float, str]] = []  # (when, worker) of what executes
    has: dict[str, deque[str]] = defaultdict(deque)  # worker -> runs, the first one executes
    took = Took()

    def begin(worker: str) -> None:
        index.started(has[worker][0], worker, now)
        heapq.heappush(ends, (now + rng.lognormvariate(2.3, 0.3), worker))

    def carry_out(plan: Plan) -> None:
        for placement in plan.placements:
            has[placement.worker].append(placement.run_id)
            if len(has[placement.worker]) == 1:
                begin(placement.worker)

    plan = decide(index, now)
    while plan.placements:  # until nobody is free
        carry_out(plan)
        plan = decide(index, now)
    wake_at = plan.wake_at
    while len(took.decisions) < decisions:
        if wake_at is not None and wake_at < ends[0][0]:
            now = wake_at
        else:
            now, worker = heapq.heappop(ends)
            held = timed(took.completions, index.ended, has[worker].popleft(), None, now)
            assert held is not None
            index.learned.ran(held.trait.profile, "a100", worker, 0.0, 0.0, 10.0)
            timed(took.arrivals, index.queued, next(source), now)
            if has[worker]:
                begin(worker)
        seconds: list[float] = []
        plan = timed(seconds, decide, index, now)
        if plan.placements:
            took.decisions.append(seconds[0] / len(plan.placements))
        carry_out(plan)
        wake_at = plan.wake_at
    return took


def measure(workers: int, queued: int, sets: int, tenants: int, decisions: int) -> dict[str, float]:
    source = entries(sets, tenants, seed=1)
    index = Index()
    for n in range(sets):
        index.learned.ran(f"w{n}@1", "a100", "worker-0000", 0.0, 0.0, 10.0)
    size = fill(index, source, queued)
    fleet(index, workers, sets)
    gc.collect()
    gc.freeze()  # a million tickets are no garbage
    figures = work(index, source, decisions).figures()
    gc.unfreeze()
    return {**figures, "bytes_per_run": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("workers", 1000), ("sets", 1000), ("tenants", 1000), ("decisions", 20_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--queued", type=int, nargs="+", default=[100_000])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for queued in options.queued:
        found = measure(options.workers, queued, options.sets, options.tenants, options.decisions)
        if options.json:
            print(json.dumps(found))
            continue
        print(
            f"{options.workers} workers, {queued} queued runs, {options.sets} sets of models, {options.tenants} tenants"
        )
        for name, kind in (("decision", ""), ("arrival", "arrival_"), ("completion", "completion_")):
            line = "".join(f"   {at} {found[f'{kind}{at}_us']:7.1f}" for at in SHARES)
            print(f"{name:>12}, us:{line}" + (f"   target p99 {TARGET_P99_US}" if not kind else ""))
        print(f"{'memory':>12}: {found['bytes_per_run']:.0f} bytes a queued run   target {TARGET_BYTES}")


if __name__ == "__main__":
    main()
