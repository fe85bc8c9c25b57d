"""How far a prompt is, by what is said of it in any order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.comfy import protocol
from orchestrator.comfy.progress import Meter
from orchestrator.comfy.protocol import Cached, Executing, ExecutionStart, NodeProgress, ProgressState
from tests.fixtures.prompts import RUN, SAMPLING, graph, state


def test_progress_counts_what_the_wanted_outputs_hang_on() -> None:
    assert Meter(SAMPLING, ("2",)).read().nodes_total == 2


def test_progress_weighs_a_sampler_by_its_steps() -> None:
    meter = Meter(SAMPLING)
    meter.hear(state(n1=None, n2=None, n3=(8, 16)))
    progress = meter.read()
    assert progress.value == pytest.approx((2 + 8) / 20)
    assert (progress.nodes_done, progress.nodes_total) == (2, 5)
    assert (progress.node, progress.node_class, progress.step, progress.steps) == ("3", "KSampler", 8, 16)


def test_progress_weighs_a_custom_sampler_by_what_makes_its_sigmas() -> None:
    custom = {
        "1": {"class_type": "BasicScheduler", "inputs": {"steps": 9}},
        "2": {"class_type": "SplitSigmas", "inputs": {"sigmas": ["1", 0]}},
        "3": {"class_type": "SamplerCustomAdvanced", "inputs": {"sigmas": ["2", 0]}},
    }
    meter = Meter(custom)
    meter.hear(state(n1=None, n2=None))
    assert meter.read().value == pytest.approx(2 / 11, abs=1e-4)


def test_cached_nodes_are_done_and_weigh_nothing() -> None:
    meter = Meter(SAMPLING)
    meter.hear(Cached(RUN, ("1", "2", "3")))
    assert meter.read().value == 0.0
    assert meter.read().nodes_done == 3
    meter.hear(state(n4=None))
    assert meter.read().value == 0.5


def test_older_versions_tell_only_what_begins() -> None:
    meter = Meter(SAMPLING)
    for event in (
        Executing(RUN, "1"),
        Executing(RUN, "2"),
        Executing(RUN, "3"),
        protocol.Progress(RUN, "3", 4, 16),
    ):
        meter.hear(event)
    assert meter.read().value == pytest.approx((2 + 4) / 20)
    meter.hear(Executing(RUN, "4"))
    assert meter.read().value == pytest.approx(18 / 20)


def test_nodes_that_the_graph_does_not_have_count_for_nothing() -> None:
    meter = Meter(graph(n1="A"))
    meter.hear(state(n9=None, n8=(1, 2)))
    assert meter.read().value == 0.0
    assert meter.read().nodes_done == 0


EVENTS = st.one_of(
    st.just(ExecutionStart(RUN)),
    st.builds(Cached, st.just(RUN), st.lists(st.sampled_from("123459")).map(tuple)),
    st.builds(Executing, st.just(RUN), st.sampled_from("123459") | st.none()),
    st.builds(protocol.Progress, st.just(RUN), st.sampled_from("123459"), st.floats(-1, 50), st.floats(-1, 50)),
    st.builds(
        ProgressState,
        st.just(RUN),
        st.lists(
            st.builds(NodeProgress, st.sampled_from("123459"), st.floats(-1, 50), st.floats(-1, 50), st.booleans())
        ).map(tuple),
    ),
)


@given(st.lists(EVENTS, max_size=30))
def test_progress_never_falls_and_stays_within_bounds(events: Sequence[protocol.Event]) -> None:
    meter = Meter(SAMPLING)
    last = 0.0
    for event in events:
        meter.hear(event)
        progress = meter.read()
        assert last <= progress.value <= 1.0
        assert 0 <= progress.nodes_done <= progress.nodes_total
        last = progress.value
