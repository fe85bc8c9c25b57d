"""Made-up days have the shape of the trace that they stand for."""

from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.simulator.fleet.generated import DAYS, generate
from orchestrator.simulator.fleet.hardware import UNKIND
from orchestrator.simulator.fleet.workload import Row, overlay


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return generate(1)


def test_the_same_seed_makes_the_same_days(rows: list[Row]) -> None:
    assert generate(1) == rows
    assert generate(2) != rows


@pytest.mark.parametrize(("models", "share"), [(1, 0.307), (5, 0.705), (10, 0.867), (20, 0.940)])
def test_few_models_are_most_of_what_is_asked_for(rows: list[Row], models: int, share: float) -> None:
    uses = Counter(row.model for row in rows).most_common(models)
    assert sum(count for _, count in uses) / len(rows) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 23), (0.95, 69), (0.99, 106)])
def test_executions_take_as_long(rows: list[Row], share: float, seconds: float) -> None:
    ordered = sorted(row.exec_s for row in rows)
    assert ordered[int(share * len(ordered))] == pytest.approx(seconds, rel=0.2)


def test_requests_crowd_and_tenants_stay_with_their_model(rows: list[Row]) -> None:
    by_hour = Counter((row.day, row.second // 3600) for row in rows)
    assert 5 < max(by_hour.values()) / (len(rows) / DAYS / 24) < 15
    stays: Counter[bool] = Counter()
    last: dict[tuple[str, str], str] = {}
    for row in sorted(rows, key=lambda row: (row.day, row.second)):
        before = last.get((row.day, row.tenant))
        if before is not None:
            stays[before == row.model] += 1
        last[row.day, row.tenant] = row.model
    assert stays[True] / stays.total() == pytest.approx(0.76, abs=0.04)  # 0.72 and those who draw the same again


def test_loras_are_used_by_so_many_and_few_of_them_by_most(rows: list[Row]) -> None:
    assert sum(row.loras for row in rows) / len(rows) == pytest.approx(0.22, abs=0.03)
    workload = overlay(rows, UNKIND.wishes(16, 0.3, 24.0), seed=1)
    uses = Counter(file for request in workload.requests for file in request.files if file.ref.folder == "loras")
    assert len(uses) > 400
    assert sum(count for _, count in uses.most_common(10)) / uses.total() == pytest.approx(0.28, abs=0.05)
