"""Bodies as models: the first wrong place is named, and what was probably meant."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator.controller.requests import GraphJob, Registration, WorkflowJob, conform
from orchestrator.domain.job import Priority
from orchestrator.errors import InvalidRequest


def test_a_whole_body_is_taken() -> None:
    body = {"params": {"steps": 4}, "version": 2, "priority": "high", "metadata": {"team": "a"}, "deadline_s": 60}
    job = conform(WorkflowJob, body)
    assert (job.params, job.version, job.priority, job.metadata, job.deadline_s) == (
        {"steps": 4}, 2, Priority.HIGH, {"team": "a"}, 60.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "body", "code", "pointer"),
    [
        (WorkflowJob, [], "invalid_request", ""),
        (WorkflowJob, None, "invalid_request", ""),
        (WorkflowJob, {"parms": {}}, "invalid_request", "/parms"),
        (WorkflowJob, {"a/b~c": {}}, "invalid_request", "/a~1b~0c"),
        (WorkflowJob, {"params": []}, "invalid_request", "/params"),
        (WorkflowJob, {"priority": "urgent"}, "invalid_request", "/priority"),
        (WorkflowJob, {"priority": 1}, "invalid_request", "/priority"),
        (WorkflowJob, {"deadline_s": 0}, "invalid_request", "/deadline_s"),
        (WorkflowJob, {"deadline_s": -5}, "invalid_request", "/deadline_s"),
        (WorkflowJob, {"deadline_s": 1e12}, "invalid_request", "/deadline_s"),
        (WorkflowJob, {"deadline_s": "60"}, "invalid_request", "/deadline_s"),
        (WorkflowJob, {"deadline_s": True}, "invalid_request", "/deadline_s"),
        (WorkflowJob, {"version": 0}, "invalid_request", "/version"),
        (WorkflowJob, {"version": 1.5}, "invalid_request", "/version"),
        (WorkflowJob, {"webhook_url": "http://x"}, "invalid_request", "/webhook_url"),
        (WorkflowJob, {"candidates": 0}, "invalid_request", "/candidates"),
        (GraphJob, {"workflow": {}, "candidates": 2}, "invalid_request", "/candidates"),
        (WorkflowJob, {"metadata": []}, "metadata_invalid", "/metadata"),
        (WorkflowJob, {"metadata": {f"k{n}": "v" for n in range(17)}}, "metadata_invalid", "/metadata"),
        (WorkflowJob, {"metadata": {"": "v"}}, "metadata_invalid", "/metadata/"),
        (WorkflowJob, {"metadata": {"k" * 41: "v"}}, "metadata_invalid", "/metadata/" + "k" * 41),
        (WorkflowJob, {"metadata": {"é": "v"}}, "metadata_invalid", "/metadata/é"),
        (WorkflowJob, {"metadata": {"k": "é" * 129}}, "metadata_invalid", "/metadata/k"),
        (WorkflowJob, {"metadata": {"k": 1}}, "metadata_invalid", "/metadata/k"),
        (GraphJob, {}, "invalid_request", "/workflow"),
        (GraphJob, {"workflow": {}, "pool": "GPU pool"}, "invalid_request", "/pool"),
        (GraphJob, {"workflow": {}, "pool": "x" * 65}, "invalid_request", "/pool"),
        (GraphJob, {"workflow": {}, "retries": 21}, "invalid_request", "/retries"),
        (GraphJob, {"workflow": {}, "retries": -1}, "invalid_request", "/retries"),
        (GraphJob, {"workflow": {}, "timeout_s": 0}, "invalid_request", "/timeout_s"),
        (GraphJob, {"workflow": {}, "outputs": "9"}, "invalid_request", "/outputs"),
        (GraphJob, {"workflow": {}, "outputs": [9]}, "invalid_request", "/outputs/0"),
        (Registration, {"name": "../x", "graph": {}, "params": {}}, "invalid_request", "/name"),
        (Registration, {"name": "x", "graph": {}, "params": {}, "quality": {}}, "invalid_request", "/quality/scores"),
    ],
)
def test_the_first_wrong_place_is_named(model: type[BaseModel], body: Any, code: str, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        conform(model, body)
    assert (refused.value.code, refused.value.details["pointer"]) == (code, pointer)


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(InvalidRequest, match="did you mean 'priority'"):
        conform(WorkflowJob, {"prioritty": "high"})
    with pytest.raises(InvalidRequest, match="known are tenant, priority, metadata, deadline_s, params"):
        conform(WorkflowJob, {"xyz": 1})


def test_a_million_unknown_keys_are_one_short_refusal() -> None:
    with pytest.raises(InvalidRequest) as refused:
        conform(WorkflowJob, {"k" * 1000 + str(n): n for n in range(1000)})
    assert len(refused.value.message) < 300
