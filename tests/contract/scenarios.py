"""What a ComfyUI is asked in order to learn how it answers; recorded on real ones, replayed on the simulated one."""

from __future__ import annotations

from tests.contract import scenarios_control, scenarios_refusals, scenarios_runs
from tests.contract.scenario import CHECKPOINT, SCENARIOS

__all__ = ["CHECKPOINT", "SCENARIOS", "SINCE_JOBS_API", "scenarios_control", "scenarios_refusals", "scenarios_runs"]

SINCE_JOBS_API = frozenset({"jobs", "jobs_cancel"})
"""Scenarios for versions with /api/jobs."""
