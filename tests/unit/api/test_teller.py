"""What a client is told of a job, from what the ComfyUIs said that had it."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.api.native.teller import Teller
from orchestrator.domain.event import Event, EventType

JOB = "00000000-0000-4000-8000-00000000000a"
FIRST, SECOND = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"


def said(run: str, *messages: tuple[str, dict[str, Any]]) -> Event:
    frames = [json.dumps({"type": kind, "data": {**data, "prompt_id": run}}) for kind, data in messages]
    return Event(EventType.COMFY, {"run": run, "frames": frames})


def heard(teller: Teller, *events: Event) -> list[tuple[str, Any]]:
    messages = [json.loads(message) for event in events for message in teller.hear(event)]
    assert all(message["data"]["prompt_id"] == JOB for message in messages)
    return [(message["type"], message["data"].get("node") or message["data"].get("value")) for message in messages]


def step(node: str, value: int) -> tuple[str, dict[str, Any]]:
    return "progress", {"node": node, "value": value, "max": 9}


START = ("execution_start", {"timestamp": 1})
CACHED = ("execution_cached", {"nodes": []})


def begins(node: str) -> tuple[str, dict[str, Any]]:
    return "executing", {"node": node}


def made(node: str, name: str) -> tuple[str, dict[str, Any]]:
    return "executed", {"node": node, "output": {"images": [{"filename": name, "subfolder": "", "type": "temp"}]}}


def test_a_second_attempt_is_heard_of_where_it_gets_further() -> None:
    teller = Teller(JOB)
    first = said(FIRST, START, CACHED, begins("1"), begins("2"), step("2", 1), step("2", 5))
    assert len(heard(teller, first)) == 6
    again = said(SECOND, START, CACHED, begins("1"), begins("2"), step("2", 1), step("2", 5))
    assert heard(teller, again) == []
    assert heard(teller, said(SECOND, step("2", 6), begins("3"))) == [("progress", "2"), ("executing", "3")]


def test_a_former_attempt_is_not_heard_any_more() -> None:
    teller = Teller(JOB)
    heard(teller, said(FIRST, START), said(SECOND, START, begins("1")))
    assert heard(teller, said(FIRST, begins("9"))) == []


def test_a_result_that_differs_is_told_again() -> None:
    teller = Teller(JOB)
    heard(teller, said(FIRST, START, made("7", "a_1.png")))
    assert heard(teller, said(SECOND, START, made("7", "a_1.png"))) == []
    assert heard(teller, said(SECOND, made("7", "b_1.png"))) == [("executed", "7")]


def test_files_lie_below_the_job() -> None:
    teller = Teller(JOB)
    [message] = [json.loads(told) for told in teller.hear(said(FIRST, made("7", "a.png")))]
    assert message["data"]["output"]["images"][0]["subfolder"] == f"fleet/{JOB}"


def test_how_it_ended_is_told_by_the_history_alone() -> None:
    teller = Teller(JOB)
    error = ("execution_error", {"node_id": "3"})
    assert heard(teller, said(FIRST, START, error)) == [("execution_start", None)]
    ended = ["execution_success", {"prompt_id": JOB, "timestamp": 2}]
    kept = [["execution_start", {"prompt_id": JOB, "timestamp": 1}], ended]
    outputs = {"7": {"text": ["words"]}}
    told = [json.loads(message) for message in teller.end({"status": {"messages": kept}, "outputs": outputs})]
    assert [message["type"] for message in told] == ["executed", "execution_error", "execution_success"]


def test_nothing_was_heard_of_it() -> None:
    teller = Teller(JOB)
    kept = [["execution_start", {}], ["execution_cached", {}], ["execution_error", {"exception_message": "no"}]]
    told = [json.loads(message)["type"] for message in teller.end({"status": {"messages": kept}, "outputs": {}})]
    assert told == ["execution_start", "execution_cached", "execution_error"]
