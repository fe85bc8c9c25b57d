"""Workers, runs and offers in one line each."""

from __future__ import annotations

from string import ascii_lowercase
from uuid import UUID

from orchestrator.domain.needs import Content, ModelRef, Needs
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Residency, Worker, WorkerInfo, WorkerState
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.models import Contents, Offer
from orchestrator.scheduling.policy import Placement, Plan, Rules, decide

GB = 1_000_000_000


def run_id(number: int) -> str:
    return str(UUID(int=number))


def checkpoint(name: str) -> ModelRef:
    return ModelRef("checkpoints", name)


def offer(*models: str, classes: tuple[str, ...] = ("Sampler",)) -> Offer:
    return Offer(frozenset(classes), frozenset(map(checkpoint, models)), frozenset({"checkpoints"}))


def contents(size: int, *models: str, sha256: str | None = None) -> Contents:
    """Each of the models is of that size."""
    return Contents({checkpoint(name): Content(size, sha256) for name in models})


def entry(
    number: int, *models: str, at: float = 0.0, pool: str = "default", priority: str = "normal", attempt: int = 1,
    profile: str = "flow@1", avoid: tuple[str, ...] = (), classes: tuple[str, ...] = ("Sampler",), vram_over: int = 0,
    tenant: str = "default",
) -> QueueEntry:  # fmt: skip
    needs = Needs(classes, tuple(map(checkpoint, models)), vram_over)
    return QueueEntry(run_id(number), f"job-{number}", attempt, pool, priority, at, profile, needs, avoid, tenant)


def worker(
    name: str, *, state: WorkerState = WorkerState.READY, pool: str = "default", vram: tuple[str, ...] = (),
    ram: tuple[str, ...] = (), gpu: str | None = None, note: str | None = None, vram_bytes: int | None = 10 * GB,
) -> Worker:  # fmt: skip
    info = WorkerInfo(name, "http://gpu", pool, "agent", gpu=gpu, vram_bytes=vram_bytes, ram_bytes=64 * GB)
    sizes = {checkpoint(letter): 6 * GB for letter in ascii_lowercase}
    residency = Residency(tuple(map(checkpoint, vram)), tuple(map(checkpoint, ram)), sizes=sizes)
    return Worker(info, state, 1, residency=residency, note=note)


def learn(index: Index, profile: str, seconds: float) -> None:
    """The profile takes so long, and that is well known."""
    for _ in range(10):
        index.learned.ran(profile, "", "some-worker", 0.0, 0.0, seconds)


def placed(plan: Plan) -> dict[str, str]:
    """Run id -> worker."""
    return {placement.run_id: placement.worker for placement in plan.placements}


def one(index: Index, now: float = 0.0, rules: Rules | None = None) -> Placement:
    """The only placement of the next plan."""
    (placement,) = decide(index, now, rules).placements
    return placement
