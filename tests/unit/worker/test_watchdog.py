"""A run that hangs is noticed within its budget, and one that is merely slow is not taken for one that hangs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.comfy.protocol import Executing, NodeProgress, Preview, Progress, ProgressState
from orchestrator.worker.watchdog import STRETCH, Budgets, Watchdog

BUDGETS = Budgets(step_s=60.0, node_s=600.0)


def step(value: int, node: str = "3", of: int = 20) -> Progress:
    return Progress("run", node, float(value), float(of))


def test_loading_models_has_its_own_budget() -> None:
    watchdog = Watchdog(BUDGETS, 0.0)
    watchdog.hear(Executing("run", "4"), 1.0)
    assert watchdog.overdue(402.0) is None  # loads of 279 to 402 s are reported
    assert watchdog.overdue(602.0) == "no sign of progress for 601 s in node 4"


def test_a_sampler_has_the_long_budget_until_its_first_step_and_after_its_last() -> None:
    watchdog = Watchdog(BUDGETS, 0.0)
    watchdog.hear(Executing("run", "3"), 0.0)
    watchdog.hear(step(0), 0.0)
    assert watchdog.budget_s == BUDGETS.node_s
    watchdog.hear(step(1), 400.0)
    assert watchdog.budget_s == BUDGETS.step_s
    assert watchdog.overdue(461.0) == "no sign of progress for 61 s in node 3"
    watchdog.hear(step(20), 410.0)
    assert watchdog.budget_s == BUDGETS.node_s


def test_slow_steps_stretch_the_budget_of_their_node_only() -> None:
    watchdog = Watchdog(BUDGETS, 0.0)
    watchdog.hear(step(1), 0.0)
    watchdog.hear(Preview("image/png", b"", "run"), 25.0)
    watchdog.hear(step(2), 50.0)
    assert watchdog.budget_s == STRETCH * 50.0
    watchdog.hear(step(1, node="7"), 51.0)
    assert watchdog.budget_s == BUDGETS.step_s


def test_the_newer_way_to_tell_steps() -> None:
    watchdog = Watchdog(BUDGETS, 0.0)
    done, now = NodeProgress("4", 1.0, 1.0, finished=True), NodeProgress("3", 2.0, 20.0, finished=False)
    watchdog.hear(ProgressState("run", (done, now)), 5.0)
    assert watchdog.overdue(66.0) == "no sign of progress for 61 s in node 3"


def test_one_that_never_said_anything() -> None:
    assert Watchdog(BUDGETS, 0.0).overdue(601.0) == "no sign of progress for 601 s before its first node"


@given(st.lists(st.floats(0.01, 59.0), min_size=1, max_size=50))
def test_steps_within_their_budget_are_never_a_hang(pauses: list[float]) -> None:
    watchdog, now = Watchdog(BUDGETS, 0.0), 0.0
    for number, pause in enumerate(pauses, 1):
        now += pause
        assert watchdog.overdue(now) is None
        watchdog.hear(step(number, of=len(pauses) + 1), now)


@given(
    st.lists(
        st.one_of(
            st.builds(step, st.integers(0, 20), st.sampled_from("37")),
            st.builds(Executing, st.just("run"), st.sampled_from("347")),
        ),
        max_size=30,
    )
)
def test_silence_is_always_noticed(events: list[Progress | Executing]) -> None:
    watchdog = Watchdog(BUDGETS, 0.0)
    for number, event in enumerate(events):
        watchdog.hear(event, float(number))
    assert BUDGETS.step_s <= watchdog.budget_s <= BUDGETS.node_s
    assert watchdog.overdue(len(events) + BUDGETS.node_s + 1) is not None
