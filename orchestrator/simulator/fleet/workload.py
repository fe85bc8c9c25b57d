"""What is asked of a simulated fleet: requests in order of arrival, and the model files that they need.

A workload is random whole days laid over each other until the wanted load is reached, each day's tenants being
others. The days come from a trace (trace.py) or are made up (generated.py). No day comes again before each had its
turn, and then it is moved a little: laid over itself, each of its tenants would have a twin that wants the same model
in the same second, which no fleet ever sees.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.needs import Needs
from orchestrator.simulator.fleet.model_files import Library, ModelFile

DAY_S = 86_400.0
CLASSES = ("CheckpointLoaderSimple", "KSampler", "SaveImage")
SHORTEST_S, LONGEST_S = 4.0, 120.0  # of an execution: what is beyond is taken for a measurement of something else
MOVED_S = 1800.0  # at most, either way, is a day that comes again moved
SPEED_UP = 0.5  # seconds on the GPUs of today for each second of the trace's


@dataclass(frozen=True, slots=True)
class Row:
    """A request as a trace tells it. `day` names a day, `second` counts from its midnight, `exec_s` is raw."""

    day: str
    second: float
    tenant: str
    kind: str  # text to image, ...
    model: str
    steps: int
    images: int
    loras: int
    exec_s: float
    controlnet: bool = False

    @property
    def execute_s(self) -> float:
        """Seconds of execution on a GPU of pace 1."""
        return min(max(self.exec_s * SPEED_UP, SHORTEST_S), LONGEST_S)


@dataclass(frozen=True, slots=True)
class Request:
    """One job. `execute_s` is the truth on a GPU of pace 1, without loading; no policy is shown it."""

    at: float
    tenant: str
    profile: str
    needs: Needs
    files: tuple[ModelFile, ...]
    execute_s: float


@dataclass(frozen=True, slots=True)
class Workload:
    """`popular`: every file, the most wanted first. `taught`: seconds of profiles that policies know beforehand."""

    requests: tuple[Request, ...]
    popular: tuple[ModelFile, ...]
    taught: dict[str, float]
    hours: float

    @property
    def work_s(self) -> float:
        return sum(request.execute_s for request in self.requests)


@dataclass(frozen=True, slots=True)
class Wishes:
    """`capacity`: GPUs of pace 1 that the fleet amounts to; `load`: share of them that the requests keep busy."""

    capacity: float
    load: float
    hours: float = 24.0  # less than 24: the busiest of the days
    adapters: bool = True  # LoRAs and ControlNets
    noise: float = 0.0  # sigma of the lognormal factor between what a trace says and what happens
    taught: bool = False  # policies know the seconds of each request


def overlay(rows: Sequence[Row], wishes: Wishes, seed: int) -> Workload:
    """Lays random days over each other until the load is reached. Same arguments, same workload."""
    begin = _busiest(rows, wishes.hours)
    days = _days(rows, begin, wishes.hours)
    library = Library(Counter(row.model for row in rows))
    rng = random.Random(f"{seed}/overlay")
    requests: list[Request] = []
    wanted_s = wishes.load * wishes.capacity * wishes.hours * 3600
    work_s, layer = 0.0, 0
    while work_s < wanted_s:
        if layer % len(days) == 0:
            rng.shuffle(days)
        shift_s = (rng.uniform(-MOVED_S, MOVED_S) if layer >= len(days) else 0.0) - begin
        for row in days[layer % len(days)]:
            request = _request(row, layer, shift_s, library, wishes, rng)
            requests.append(request)
            work_s += request.execute_s
        layer += 1
    requests.sort(key=lambda request: request.at)
    taught = {request.profile: request.execute_s for request in requests} if wishes.taught else {}
    uses = Counter(file for request in requests for file in request.files)
    popular = tuple(file for file, _ in uses.most_common())
    return Workload(tuple(requests), popular, taught, wishes.hours)


def _days(rows: Sequence[Row], begin: float, hours: float) -> list[list[Row]]:
    """So many hours of each day, by day."""
    days: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if begin <= row.second < begin + hours * 3600:
            days[row.day].append(row)
    return [days[day] for day in sorted(days)]


def _busiest(rows: Sequence[Row], hours: float) -> float:
    """Second of the day at whose full hour the most requests of so many hours begin."""
    begins = [hour * 3600.0 for hour in range(24) if hour + hours <= 24]
    seconds = sorted(row.second for row in rows)
    return max(begins, key=lambda it: bisect_left(seconds, it + hours * 3600) - bisect_left(seconds, it))


def _request(row: Row, layer: int, shift_s: float, library: Library, wishes: Wishes, rng: random.Random) -> Request:
    tenant = f"{row.tenant}.{layer}"
    files = [library.model(row.model)]
    if wishes.adapters:
        files += library.loras(tenant, row.model, row.loras)
        if row.controlnet:
            files.append(library.controlnet(tenant, row.kind))
    execute_s = row.execute_s * rng.lognormvariate(0, wishes.noise)
    profile = f"{execute_s:g}s" if wishes.taught else f"{row.kind}/{row.model}/{row.steps}/{row.images}"
    at = (row.second + shift_s + rng.random()) % (wishes.hours * 3600)  # traces have whole seconds
    return Request(at, tenant, profile, library.needs(CLASSES, files), tuple(files), execute_s)
