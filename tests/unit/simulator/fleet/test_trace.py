"""A trace is read whole, or refused with the line that is wrong."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.simulator.fleet.trace import parse
from tests.fixtures.trace import HEADER, line


def test_a_request_is_read_with_its_day_and_second() -> None:
    (row,) = parse([HEADER, line("2030-01-02 01:02:03", seconds="50", loras="2")], "t.csv")
    assert (row.day, row.second, row.tenant, row.model) == ("2030-01-02", 3723.0, "T1", "M1")
    assert (row.steps, row.images, row.loras, row.execute_s) == (30, 1, 2, 25.0)


@pytest.mark.parametrize(("seconds", "execute_s"), [("1", 4.0), ("600", 120.0)])
def test_execution_is_clipped(seconds: str, execute_s: float) -> None:
    (row,) = parse([HEADER, line(seconds=seconds)], "t.csv")
    assert row.execute_s == execute_s


def test_failed_requests_and_those_without_a_model_are_left_out_whatever_else_they_say() -> None:
    lines = [HEADER, line(status="FAILED", seconds=""), line(model="", steps="?"), line(tenant="T2")]
    assert [row.tenant for row in parse(lines, "t.csv")] == ["T2"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (line(seconds=""), "exec_time_seconds is '', and should be a number"),
        (line(seconds="-3"), "exec_time_seconds is -3, and should be a time above 0"),
        (line(seconds="nan"), "exec_time_seconds is nan"),
        (line("yesterday"), "yesterday"),
        (line(steps="many"), "num_inference_steps is 'many'"),
        (line()[: -len(",M1,0")], "has fewer fields than the 11 columns"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(bad: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=r"t\.csv, line 3: ") as caught:
        parse([HEADER, line(), bad, line()], "t.csv")
    assert says in caught.value.message


def test_a_file_that_is_no_trace_is_refused_with_the_columns_it_lacks() -> None:
    with pytest.raises(InvalidRequest, match=r"t\.csv has no column gmt_create, predict_type"):
        parse(["a,b", "1,2"], "t.csv")


def test_a_trace_without_any_request_that_succeeded_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="has no request that succeeded"):
        parse([HEADER, line(status="FAILED")], "t.csv")
