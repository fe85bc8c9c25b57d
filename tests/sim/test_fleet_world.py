"""A fleet in virtual time: the same result byte for byte, no job lost, and baselines that do what their names say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.simulator.fleet import generated, trace
from orchestrator.simulator.fleet.hardware import GB, KIND, UNKIND, Preset, machines
from orchestrator.simulator.fleet.policies import POLICIES
from orchestrator.simulator.fleet.workload import Row, Wishes, Workload, overlay
from orchestrator.simulator.fleet.world import Outcome, World
from tests.fixtures.trace import lines

FRAIL = replace(UNKIND, uptime_s=1200.0)  # each worker fails about every twenty minutes


def day(*arrivals: tuple[float, str], seconds: float = 20.0) -> list[Row]:
    """Requests around noon: when, counted from there, and for which model."""
    return [Row("d", 43_200 + at, "t", "TXT", model, 30, 1, 0, seconds) for at, model in arrivals]


def simulate(policy: str, preset: Preset, workload: Workload, workers: int, seed: int = 1) -> Outcome:
    fleet = machines(preset, workers, seed, 7200.0)
    return World(workload, fleet, POLICIES[policy](workload.taught), seed).run()


def alone(rows: list[Row]) -> Workload:
    """These requests once, in a world without adapters."""
    work_s = sum(row.execute_s for row in rows)
    return overlay(rows, Wishes(capacity=1.0, load=work_s / 7200, hours=2.0, adapters=False, taught=True), seed=1)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_job_ends_once_although_workers_fail(policy: str) -> None:
    workload = overlay(trace.parse(lines(), "made up"), FRAIL.wishes(6, 0.3, 1.0), seed=1)
    outcome = simulate(policy, FRAIL, workload, workers=6)
    assert Counter(map(id, workload.requests)) == Counter(id(request) for request, _ in outcome.ended)
    assert outcome.lost > 0
    assert all(ended >= request.at + request.execute_s * 0.85 for request, ended in outcome.ended)


def test_in_the_reference_nothing_loads_and_the_fewest_seconds_pass() -> None:
    workload = overlay(generated.generate(1), KIND.wishes(4, 0.3, 2.0), seed=1)
    means = {}
    for policy in POLICIES:
        outcome = simulate(policy, KIND, workload, workers=4)
        means[policy] = sum(ended - request.at for request, ended in outcome.ended) / len(outcome.ended)
        assert (outcome.loads == 0) == (policy == "reference")
    assert means["reference"] == min(means.values())


def test_round_robin_gives_each_in_turn_whatever_it_holds() -> None:
    outcome = simulate("round-robin", KIND, alone(day(*((n * 60, "a") for n in range(6)))), workers=3)
    assert outcome.loads == 3


def test_least_queue_goes_where_nobody_waits() -> None:
    outcome = simulate("least-queue", KIND, alone(day(*((n * 0.1, "a") for n in range(3)))), workers=3)
    assert max(ended for _, ended in outcome.ended) < 3600 + 20  # all at once, of ten seconds each


def test_a_sticky_hash_keeps_a_model_on_one_worker_and_its_runs_wait_there() -> None:
    outcome = simulate("sticky-hash", KIND, alone(day(*((n * 0.1, "a") for n in range(6)))), workers=3)
    assert outcome.loads == 1
    assert max(ended for _, ended in outcome.ended) > 3600 + 60


def test_gb_fitness_takes_the_idle_worker_that_lacks_least_but_waits_for_none() -> None:
    apart = simulate("gb-fitness", KIND, alone(day(*((n * 60, "ab"[n % 2]) for n in range(8)))), workers=2)
    assert apart.loads == 2
    together = simulate("gb-fitness", KIND, alone(day((0, "a"), (60, "a"), (60.5, "a"), (61, "a"))), workers=3)
    assert together.loads == 3


def test_earliest_completion_waits_for_a_warm_worker_if_that_is_sooner() -> None:
    rows = day((0, "a"), (58, "a"), (63, "a"), seconds=12.0)  # six seconds each; loading takes about four
    outcome = simulate("earliest-completion", KIND, alone(rows), workers=2)
    assert outcome.loads == 1


def test_swarmui_loads_a_second_copy_only_after_a_model_was_wanted_for_a_while() -> None:
    rows = day((0, "a"), (60, "a"), (60.2, "a"))
    outcome = simulate("swarmui", KIND, alone(rows), workers=3)
    last, first = (max(outcome.ended, key=lambda it: it[1]), outcome.ended[0])
    assert outcome.loads == 2
    assert first[0].at < 3601
    assert last[1] - last[0].at > 1.5 + 10  # it stood by before it loaded


def test_tenants_of_different_days_are_different_and_the_load_is_reached() -> None:
    workload = overlay(trace.parse(lines(), "made up"), Wishes(capacity=8.0, load=0.5, hours=2.0), seed=3)
    assert 0.5 <= workload.work_s / (8 * 7200) < 0.75
    layers = defaultdict(set)
    for request in workload.requests:
        layers[request.tenant.rsplit(".", 1)[1]].add(request.tenant)
    assert len(layers) > 2
    assert [it.at for it in workload.requests] == sorted(it.at for it in workload.requests)


def test_the_same_seed_gives_the_same_result_byte_for_byte_in_any_process(tmp_path: Path) -> None:
    source = tmp_path / "trace.csv"
    source.write_text("\n".join(lines()))
    found = []
    for hash_seed in ("1", "2"):
        target = tmp_path / f"{hash_seed}.json"
        options = ["--trace", source, "--workers", "4", "--hours", "2", "--seed", "5", "--json", target]
        command = [sys.executable, "-m", "orchestrator", "simulate", *map(str, options)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True, capture_output=True)
        found.append(target.read_bytes())
    assert found[0] == found[1]


def test_others_are_served_while_a_file_comes_to_the_disk_that_a_run_needs() -> None:
    small = replace(KIND, disk_bytes=10 * GB, taught=False)  # one of the two models
    workload = alone(day(*((n * 30, "a") for n in range(6)), (95, "b")))
    slowest = {}
    for policy in ("comfyfleet", "round-robin"):
        ended = simulate(policy, small, workload, workers=1).ended
        slowest[policy] = max(at - it.at for it, at in ended if it.files[0].ref.name.startswith("a") and it.at > 3695)
    assert slowest["comfyfleet"] < 11
    assert slowest["round-robin"] > 50
