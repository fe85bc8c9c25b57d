from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.simulator.comfyui.order import ExecutionOrder

Prompt = dict[str, Any]


def node(*sources: str) -> dict[str, Any]:
    return {"class_type": "C", "inputs": {f"in{slot}": [source, 0] for slot, source in enumerate(sources)}}


def sources(prompt: Prompt, node_id: str) -> set[str]:
    return {value[0] for value in prompt[node_id]["inputs"].values()}


def needed(prompt: Prompt, node_id: str, cached: set[str]) -> set[str]:
    """What has to run before a node, itself included."""
    missing = sources(prompt, node_id) - cached
    return {node_id}.union(*(needed(prompt, source, cached) for source in missing))


def run(prompt: Prompt, outputs: set[str], cached: set[str]) -> list[str]:
    order = ExecutionOrder(prompt, outputs.__contains__, cached.__contains__)
    for output in sorted(outputs):
        order.add(output)
    executed: list[str] = []
    while order:
        executed.append(order.next())
        order.finish(executed[-1])
    return executed


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Prompt, set[str], set[str]]:
    """A prompt, its outputs (which nothing links to), and what is cached."""
    count = draw(st.integers(1, 10))
    prompt = {
        str(index): node(*(str(each) for each in draw(st.lists(st.integers(0, index - 1), max_size=3))))
        if index
        else node()
        for index in range(count)
    }
    linked = set[str]().union(*(sources(prompt, key) for key in prompt))
    cached = {key for key in prompt if draw(st.booleans())}
    return prompt, set(prompt) - linked, cached


@given(graphs())
def test_every_node_runs_once_after_what_it_needs_and_only_if_it_is_needed(
    graph: tuple[Prompt, set[str], set[str]],
) -> None:
    prompt, outputs, cached = graph
    executed = run(prompt, outputs, cached)
    assert len(executed) == len(set(executed))
    assert set(executed) == set[str]().union(*(needed(prompt, output, cached) for output in outputs))
    for position, node_id in enumerate(executed):
        assert sources(prompt, node_id) - cached <= set(executed[:position])


def test_a_cached_output_still_gets_its_turn() -> None:
    assert run({"1": node(), "2": node("1")}, {"2"}, {"1", "2"}) == ["2"]


def test_what_leads_to_an_output_goes_first() -> None:
    prompt = {"slow": node(), "end": node("slow", "quick"), "quick": node(), "shown": node("quick")}
    assert run(prompt, {"end", "shown"}, set())[:2] == ["quick", "shown"]
