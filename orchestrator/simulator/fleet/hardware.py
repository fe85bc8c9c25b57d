"""The machines of a simulated fleet as they truly are, and when they fail. Policies are told what an agent would tell.

Two worlds: `kind` has equal workers that never fail, knows all execution times and has nothing but base models, as
others measure; `unkind` is what the figures of this project are held to.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.worker import WorkerInfo, WorkerKind
from orchestrator.scheduling.memory import RAM_SHARE, VRAM_SHARE
from orchestrator.simulator.fleet.workload import Wishes

GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU and the machine around it. `pace`: seconds of execution there per second of the workload's."""

    name: str
    pace: float
    vram_bytes: float
    ram_bytes: float
    ram_bytes_s: float  # from RAM to VRAM


@dataclass(frozen=True, slots=True)
class Preset:
    """A world. `spread`: sigma of lognormal factors on each worker's bandwidths; `noise`: on execution times."""

    name: str
    gpus: tuple[Gpu, ...]  # dealt to the workers in turn
    disk_bytes: float = 250 * GB
    net_bytes_s: float = 0.3 * GB
    disk_bytes_s: float = 2 * GB
    fixed_s: float = 0.3  # per file that is loaded
    spread: float = 0.0
    noise: float = 0.0
    slack: float = 0.0  # at most this share of VRAM is taken by what no agent knows of
    boot_s: tuple[float, float] = (0.0, 0.0)  # from its start until a worker is ready: at least, at most
    uptime_s: float | None = None  # from one failure to the next, on average; None: never
    outage_s: tuple[float, float] = (0.0, 0.0)  # from a failure until the worker starts again
    notice_s: float = 0.0  # from a failure until it is noticed
    measured: float = 1.0  # share of workers whose residency is measured and not inferred
    taught: bool = False  # all policies know each execution time
    adapters: bool = True  # requests need LoRAs and ControlNets

    def wishes(self, workers: int, load: float, hours: float) -> Wishes:
        """The workload that so many workers of this world are to have."""
        capacity = sum(1 / self.gpus[n % len(self.gpus)].pace for n in range(workers))
        return Wishes(capacity, load, hours, self.adapters, self.noise, self.taught)


KIND = Preset(
    "kind", (Gpu("gpu", 1.0, 20 * GB / VRAM_SHARE, 48 * GB / RAM_SHARE, 12 * GB),), taught=True, adapters=False
)

_RTX_4090 = Gpu("rtx-4090", 1.0, 24 * GB, 64 * GB, 12 * GB)
_RTX_4000 = Gpu("rtx-4000-ada", 1.9, 20 * GB, 64 * GB, 10 * GB)
_L40S = Gpu("l40s", 0.85, 48 * GB, 128 * GB, 16 * GB)
UNKIND = Preset(
    "unkind",
    (_RTX_4090, _RTX_4000, _RTX_4090, _L40S),
    spread=0.2,
    noise=0.3,
    slack=0.08,
    boot_s=(20.0, 90.0),
    uptime_s=24 * 3600.0,
    outage_s=(20.0, 600.0),
    notice_s=10.0,
    measured=0.5,
)

PRESETS = {preset.name: preset for preset in (UNKIND, KIND)}


@dataclass(frozen=True, slots=True)
class Outage:
    """A worker fails at `at`, which is noticed at `noticed`; it starts again at `starts` and is ready at `ready`."""

    at: float
    noticed: float
    starts: float
    ready: float


@dataclass(frozen=True, slots=True)
class Hardware:
    """One worker. Sizes in bytes that models may fill, bandwidths in bytes a second."""

    info: WorkerInfo
    pace: float
    vram_bytes: float
    ram_bytes: float
    disk_bytes: float
    ram_bytes_s: float
    disk_bytes_s: float
    net_bytes_s: float
    fixed_s: float
    ready_at: float  # when it comes up first
    outages: tuple[Outage, ...]
    measured: bool


def machines(preset: Preset, count: int, seed: int, horizon_s: float) -> list[Hardware]:
    """So many workers, and their failures until the horizon. Same arguments, same machines."""
    rng = random.Random(f"{seed}/machines")
    return [_machine(preset, n, rng, horizon_s) for n in range(count)]


def _machine(preset: Preset, n: int, rng: random.Random, horizon_s: float) -> Hardware:
    gpu = preset.gpus[n % len(preset.gpus)]
    info = WorkerInfo(
        f"w{n:03}", "http://gpu", "default", "simulated", WorkerKind.SUPERVISED, gpu=gpu.name,
        vram_bytes=round(gpu.vram_bytes), ram_bytes=round(gpu.ram_bytes),
    )  # fmt: skip
    bandwidths = [rate * rng.lognormvariate(0, preset.spread) for rate in _rates(preset, gpu)]
    return Hardware(
        info=info,
        pace=gpu.pace,
        vram_bytes=gpu.vram_bytes * VRAM_SHARE * (1 - rng.uniform(0, preset.slack)),
        ram_bytes=gpu.ram_bytes * RAM_SHARE,
        disk_bytes=preset.disk_bytes,
        ram_bytes_s=bandwidths[0],
        disk_bytes_s=bandwidths[1],
        net_bytes_s=bandwidths[2],
        fixed_s=preset.fixed_s,
        ready_at=rng.uniform(*preset.boot_s),
        outages=tuple(_outages(preset, rng, horizon_s)),
        measured=rng.random() < preset.measured,
    )


def _rates(preset: Preset, gpu: Gpu) -> Sequence[float]:
    return gpu.ram_bytes_s, preset.disk_bytes_s, preset.net_bytes_s


def _outages(preset: Preset, rng: random.Random, horizon_s: float) -> list[Outage]:
    if preset.uptime_s is None:
        return []
    found: list[Outage] = []
    at = rng.expovariate(1 / preset.uptime_s)
    while at < horizon_s:
        noticed = at + preset.notice_s
        starts = max(noticed, at + rng.uniform(*preset.outage_s))
        ready = starts + rng.uniform(*preset.boot_s)
        found.append(Outage(at, noticed, starts, ready))
        at = ready + rng.expovariate(1 / preset.uptime_s)
    return found
