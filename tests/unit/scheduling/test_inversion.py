"""How long an urgent run may wait for lesser ones: priority inversion is bounded by what a worker has already."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.scheduling.builders import learn
from tests.unit.scheduling.floor import Floor

LOAD_S = 4.0  # of any model here, and so the longest that a run waits for a worker that holds its own

lesser = st.tuples(st.integers(0, 1), st.sampled_from("abc"), st.sampled_from(("low", "normal")))


@settings(max_examples=60, deadline=None)
@given(
    workers=st.integers(1, 3),
    seconds=st.tuples(st.floats(5.0, 60.0), st.floats(5.0, 60.0)),
    waiting=st.lists(lesser, min_size=1, max_size=20),
    later=st.lists(lesser, max_size=5),
    at=st.floats(0.0, 150.0),
    model=st.sampled_from("abc"),
)
def test_an_urgent_run_waits_for_no_more_than_two_lesser_ones(
    workers: int,
    seconds: tuple[float, float],
    waiting: list[tuple[int, str, str]],
    later: list[tuple[int, str, str]],
    at: float,
    model: str,
) -> None:
    """However many wait, what they need and whose they are: what a worker executes, and the one that waits there.

    As far as it is known how long runs take. What arrives after it makes no difference, nor what loads less."""
    floor = Floor(workers)
    for n, takes in enumerate((*seconds, 10.0)):
        learn(floor.index, f"tenant-{n}@1", takes)

    def submit(runs: list[tuple[int, str, str]]) -> None:
        for tenant, needs, priority in runs:
            floor.submit(f"tenant-{tenant}", seconds[tenant], needs, priority=priority)

    submit(waiting * (1 + 100 // len(waiting)))  # more than they do by then
    floor.decide()
    while floor.now < at:
        floor.step()
    came_at = floor.now
    urgent = floor.submit("tenant-2", 10.0, model, priority="high")
    submit(later)
    floor.decide()
    while urgent not in floor.began:
        floor.step()
    assert floor.began[urgent] - came_at <= 2 * max(seconds) + LOAD_S
