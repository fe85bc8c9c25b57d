"""What only an agent knows of its workers, for Prometheus. What goes through the store is counted by the leader
(controller/metrics.py), or read at each scrape (api/metrics.py).

The collectors are the process's own, as its workers are: every driver counts into the same.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

GAP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

IDLE_GAP = Histogram(
    "comfyfleet_worker_idle_gap_seconds",
    "From the end of one run to the start of the next, which was there already.",
    ("worker",), buckets=GAP_SECONDS,
)  # fmt: skip
MODEL_LOADS = Counter(
    "comfyfleet_model_loads", "Model files that runs brought into VRAM, by where they were.", ("worker", "tier")
)
MODEL_BYTES = Counter(
    "comfyfleet_model_loaded_bytes", "Bytes of model files that runs brought into VRAM, by where they were.",
    ("worker", "tier"),
)  # fmt: skip
MODEL_HITS = Counter("comfyfleet_model_hits", "Model files that runs found in VRAM.", ("worker",))
MODEL_SWAPS = Counter("comfyfleet_model_swaps", "Runs whose models pushed others out of VRAM.", ("worker",))
RESTARTS = Counter(
    "comfyfleet_worker_restarts", "Ends of a supervised ComfyUI that another was started after, by why.",
    ("worker", "cause"),
)  # fmt: skip
RESTART_CAUSES = ("crash", "fault", "retired")
RETRIES = Counter(
    "comfyfleet_run_retries", "Runs that were given back to be tried again, by the code of what went wrong.",
    ("worker", "cause"),
)  # fmt: skip


def expect_restarts(worker: str) -> None:
    """Has them be told from the start: Prometheus does not see a counter rise that begins with its first event."""
    for cause in RESTART_CAUSES:
        RESTARTS.labels(worker, cause)
