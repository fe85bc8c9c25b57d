"""What the leading controller counts as runs go by, for Prometheus. What stands in the store is read at each scrape
instead (api/metrics.py)."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orchestrator.domain.run import RunState
from orchestrator.scheduling.demand import Demand

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
DECISION_SECONDS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 0.1)
RAW_GRAPHS = "(graph)"
OTHERS = "(others)"
MAX_POOLS = 100
MAX_WORKFLOWS = 200  # with a hundred series each

GATE_SCORES = Counter(
    "comfyfleet_gate_scores", "Candidates of gated jobs, by dimension: pass, miss or unscored.",
    ("workflow", "dimension", "mark"),
)  # fmt: skip
GATE_VERDICTS = Counter(
    "comfyfleet_gate_verdicts", "What the gate said of jobs: accept, rerun, fail or review.", ("workflow", "verdict")
)

_workflows: set[str] = set()


def workflow_label(name: str | None) -> str:
    """The name of one of the workflows that this process told of first. Raw graphs, None, are counted together; so are
    the workflows that come after MAX_WORKFLOWS, as anybody may register what they like."""
    if name is None:
        return RAW_GRAPHS
    if name not in _workflows and len(_workflows) >= MAX_WORKFLOWS:
        return OTHERS
    _workflows.add(name)
    return name


class DispatchMetrics:
    """Its collectors belong to `registry`, which whoever answers /metrics renders."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "comfyfleet_runs_ended", "Runs that left a worker, by how they ended.", ("workflow", "state"),
            registry=registry,
        )  # fmt: skip
        self._wait = Histogram(
            "comfyfleet_run_wait_seconds", "From a job's arrival to the start of a run of it.", ("workflow",),
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._execute = Histogram(
            "comfyfleet_run_execute_seconds", "From a run's start to its last node, loading included.", ("workflow",),
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._load = Histogram(
            "comfyfleet_run_load_seconds", "The share of a run's execution that went into loading models.",
            ("workflow",), buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._deliver = Histogram(
            "comfyfleet_run_deliver_seconds", "From a run's last node to its outputs being committed.", ("workflow",),
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._total = Histogram(
            "comfyfleet_run_total_seconds", "From a job's arrival to a committed result of a run of it.",
            ("workflow",), buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._desired = Gauge(
            "comfyfleet_pool_desired_workers", "Workers that would begin all that waits within a minute.", ("pool",),
            registry=registry,
        )  # fmt: skip
        self._queued_work = Gauge(
            "comfyfleet_pool_queued_seconds", "Expected GPU-seconds of the runs that wait.", ("pool",),
            registry=registry,
        )  # fmt: skip
        self._decision = Histogram(
            "comfyfleet_decision_seconds", "Time taken to decide what the workers do next.",
            buckets=DECISION_SECONDS, registry=registry,
        )  # fmt: skip

    def decided(self, seconds: float) -> None:
        self._decision.observe(seconds)

    def waited(self, profile: str, wait_s: float) -> None:
        self._wait.labels(_workflow(profile)).observe(max(0.0, wait_s))  # two clocks may differ a little

    def delivered(self, profile: str, deliver_s: float, total_s: float) -> None:
        """A result was committed."""
        workflow = _workflow(profile)
        self._deliver.labels(workflow).observe(max(0.0, deliver_s))
        self._total.labels(workflow).observe(max(0.0, total_s))

    def demanded(self, demands: Mapping[str, Demand]) -> None:
        """What the pools have to do now; nothing of it, once another controller leads. Callers may name any pool: the
        least of more than MAX_POOLS are left out."""
        self._desired.clear()
        self._queued_work.clear()
        for pool in sorted(demands, key=lambda name: -demands[name].workers)[:MAX_POOLS]:
            self._desired.labels(pool).set(demands[pool].workers)
            self._queued_work.labels(pool).set(demands[pool].queued_s)

    def ended(self, profile: str, state: RunState, execute_s: float | None, load_s: float | None) -> None:
        """The seconds are None for a run that did not come to its end."""
        workflow = _workflow(profile)
        self._ended.labels(workflow, state.value).inc()
        if execute_s is not None:
            self._execute.labels(workflow).observe(execute_s)
        if load_s is not None:
            self._load.labels(workflow).observe(load_s)


def _workflow(profile: str) -> str:
    name, at, _ = profile.partition("@")
    return workflow_label(name if at else None)
