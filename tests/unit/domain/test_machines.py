"""The transition tables: complete, without dead ends, and as drawn in the docs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import asset, job, run, worker
from orchestrator.domain.ids import uuid7
from orchestrator.domain.machine import advance, mermaid, reachable_ends
from orchestrator.errors import IllegalTransition

README = Path(__file__).parents[3] / "orchestrator" / "domain" / "README.md"
Table = Mapping[tuple[Any, Any], Any]
MACHINES: dict[str, tuple[Table, type[StrEnum], type[StrEnum], StrEnum]] = {
    "Job": (job.TRANSITIONS, job.JobStatus, job.JobEvent, job.JobStatus.QUEUED),
    "Run": (run.TRANSITIONS, run.RunState, run.RunEvent, run.RunState.QUEUED),
    "Worker": (worker.TRANSITIONS, worker.WorkerState, worker.WorkerEvent, worker.WorkerState.STARTING),
    "Asset": (asset.TRANSITIONS, asset.AssetState, asset.AssetEvent, asset.AssetState.GONE),
}
each = pytest.mark.parametrize("name", MACHINES)


@each
def test_every_state_is_reached_and_every_event_used(name: str) -> None:
    table, states, events, first = MACHINES[name]
    reached, edge = {first}, {first}
    while edge:
        edge = {target for (state, _), target in table.items() if state in edge} - reached
        reached |= edge
    assert reached == set(states)
    assert {event for _, event in table} == set(events)


@each
def test_the_docs_show_the_table(name: str) -> None:
    table = MACHINES[name][0]
    assert f"## {name}\n\n```mermaid\n{mermaid(table)}\n```\n" in README.read_text(), (
        f"put this into {README}:\n{mermaid(table)}"
    )


def test_ends_are_ends() -> None:
    assert {status.value for status in job.TERMINAL} == {"succeeded", "failed", "canceled", "expired"}
    assert {state.value for state in run.TERMINAL} == {"succeeded", "failed", "lost", "returned", "canceled"}
    assert reachable_ends(worker.TRANSITIONS, worker.WorkerState) == frozenset()


@given(st.lists(st.sampled_from(job.JobEvent), max_size=12))
def test_a_job_that_ended_stays_ended(events: list[job.JobEvent]) -> None:
    state, ended = job.JobStatus.QUEUED, False
    for event in events:
        try:
            state = advance(job.TRANSITIONS, state, event)
        except IllegalTransition:
            continue
        assert not ended
        ended = state in job.TERMINAL


def test_an_illegal_transition_tells_the_story() -> None:
    with pytest.raises(IllegalTransition, match=r"succeeded has no transition for start; last events: start, succeed"):
        advance(job.TRANSITIONS, job.JobStatus.SUCCEEDED, job.JobEvent.START, ["start", "succeed"])


@given(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 74) - 1))
def test_ids_sort_by_time_and_are_canonical(ms: int, bits: int) -> None:
    made = uuid7(ms, bits)
    parsed = uuid.UUID(made)
    assert (str(parsed), parsed.version, parsed.variant) == (made, 7, uuid.RFC_4122)
    assert parsed.int >> 80 == ms
    assert uuid7(ms + 1, 0) > made if ms < (1 << 48) - 1 else True
