"""How long each node took, by when it was said to begin."""

from __future__ import annotations

from orchestrator.comfy.nodetimes import NodeTimes
from orchestrator.comfy.protocol import Executing, ExecutionStart, Progress


def test_the_time_until_the_next_node_is_a_nodes_own() -> None:
    times = NodeTimes()
    for at, event in (
        (0.0, ExecutionStart("p")), (1.0, Executing("p", "4")), (3.0, Executing("p", "8")),
        (4.0, Progress("p", "8", 1, 2)), (8.0, Executing("p", "4")), (8.5, Executing("p", "9")),
        (8.5001, Executing("p", None)),
    ):  # fmt: skip
        times.hear(event, at)
    assert times.seconds() == {"4": 2.5, "8": 5.0}


def test_what_is_not_over_is_not_told() -> None:
    times = NodeTimes()
    times.hear(Executing("p", "4"), 1.0)
    assert times.seconds() == {}
