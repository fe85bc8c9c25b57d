"""How long a decision takes and what a queued run costs in memory, in a fleet under full load. Run by hand.

Seconds are CPU seconds, so that a busy machine does not show in them:

python tests/bench/decision.py [--workers 1000] [--queued 100000] [--sets 1000] [--decisions 20000] [--json]

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
from collections.abc import Iterator

from orchestrator.domain.ids import uuid7
from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Worker, WorkerInfo, WorkerState
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.models import Offer
from orchestrator.scheduling.policy import Plan, decide

TARGET_P99_US = 50
TARGET_BYTES = 200
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


def entries(sets: int, seed: int) -> Iterator[QueueEntry]:
    """Runs without end, one a millisecond, the popular sets more often."""
    rng = random.Random(seed)
    needs = needs_of(sets)
    weights = [1 / (n + 1) for n in range(sets)]
    at = 1_800_000_000.0
    while True:
        for choice in rng.choices(range(sets), weights, k=1000):
            at += 0.001
            priority = rng.choices(("normal", "high", "low"), (8, 1, 1))[0]
            run_id = uuid7(int(at * 1000), rng.getrandbits(74))
            yield QueueEntry(run_id, run_id, 1, "default", priority, at, f"w{choice}@1", needs[choice])


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


def work(index: Index, source: Iterator[QueueEntry], decisions: int) -> list[float]:
    """Workers end their runs one after the other, a run arrives for each, and what to do is decided every time.

    Answers the seconds that each decision took, sorted. Only those that assigned something count.
    """
    rng = random.Random(7)
    now = 0.0
    ends: list[tuple[float, str]] = []  # (when, worker) of what executes
    has: dict[str, deque[str]] = defaultdict(deque)  # worker -> runs, the first one executes

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
    took: list[float] = []
    wake_at = plan.wake_at
    while len(took) < decisions:
        if wake_at is not None and wake_at < ends[0][0]:
            now = wake_at
        else:
            now, worker = heapq.heappop(ends)
            held = index.ended(has[worker].popleft(), None, now)
            assert held is not None
            index.learned.ran(held.trait.profile, "a100", worker, 0.0, 0.0, 10.0)
            index.queued(next(source), now)
            if has[worker]:
                begin(worker)
        start = time.thread_time()
        plan = decide(index, now)
        if plan.placements:
            took.append((time.thread_time() - start) / len(plan.placements))
        carry_out(plan)
        wake_at = plan.wake_at
    return sorted(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("workers", 1000), ("queued", 100_000), ("sets", 1000), ("decisions", 20_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    source = entries(options.sets, seed=1)
    index = Index()
    for n in range(options.sets):
        index.learned.ran(f"w{n}@1", "a100", "worker-0000", 0.0, 0.0, 10.0)
    size = fill(index, source, options.queued)
    fleet(index, options.workers, options.sets)
    took = work(index, source, options.decisions)
    if options.json:
        shares = {"p50_us": 0.5, "p99_us": 0.99}
        figures = {name: took[int(share * len(took))] * 1e6 for name, share in shares.items()}
        print(json.dumps({**figures, "bytes_per_run": size}))
        return
    print(f"{options.workers} workers, {options.queued} queued runs, {options.sets} sets of models")
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        target = f"   target {TARGET_P99_US}" if name == "p99" else ""
        print(f"decision {name:>6}: {took[int(share * len(took))] * 1e6:8.1f} us{target}")
    print(f"decision    max: {took[-1] * 1e6:8.1f} us")
    print(f"memory         : {size:8.1f} bytes a queued run   target {TARGET_BYTES}")


if __name__ == "__main__":
    main()
