"""CHECKS, and what becomes of runs that none passes."""

from __future__ import annotations

import pytest

from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Worker, WorkerState
from orchestrator.scheduling.explain import obstacles
from orchestrator.scheduling.feasible import refusal
from orchestrator.scheduling.index import DOWN_LONG_S, GRACE_S, Index
from orchestrator.scheduling.infeasible import AT_ONCE, Refusal
from orchestrator.scheduling.models import Offer
from orchestrator.scheduling.policy import decide
from tests.unit.scheduling.builders import GB, entry, offer, placed, run_id, worker


def why(state: Worker, what: Offer | None, run: QueueEntry, *others: Worker) -> str | None:
    index = Index()
    for each in (state, *others):
        index.worker(each, what, 0.0)
    index.queued(run, 0.0)
    pool = index.pools["default"]
    (group,) = pool.queue.line
    return refusal(pool.fleet.workers[state.info.id], group, pool.fleet)


@pytest.mark.parametrize(
    ("state", "what", "run", "reason"),
    [
        (worker("w"), offer("a"), entry(1, "a"), None),
        (worker("w", state=WorkerState.DRAINING), offer("a"), entry(1, "a"), "is draining"),
        (worker("w", state=WorkerState.DOWN, note="gone"), offer("a"), entry(1, "a"), "is down (gone)"),
        (worker("w"), None, entry(1, "a"), "has not been inspected yet"),
        (worker("w"), offer("a"), entry(1, "a", classes=("Odd", "Sampler")), "has no node class Odd"),
        (worker("w"), offer("a"), entry(1, "b"), "has no model checkpoints/b"),
        (
            worker("w"), offer("a"), entry(1, *"bcdef"),
            "has no model checkpoints/b, checkpoints/c, checkpoints/d and 2 more",
        ),
        (worker("w"), offer("a"), entry(1, "a", avoid=("w",)), None),
    ],
)  # fmt: skip
def test_each_check_says_in_words_why_not(
    state: Worker, what: Offer | None, run: QueueEntry, reason: str | None
) -> None:
    assert why(state, what, run) == reason


def test_a_worker_to_avoid_is_refused_only_while_another_could_do_it() -> None:
    run = entry(1, "a", avoid=("w",))
    reason = "lost an earlier attempt of this run, and there are others"
    assert why(worker("w"), offer("a"), run, worker("other")) == reason
    assert why(worker("w"), offer("a"), run, worker("other", state=WorkerState.DOWN)) is None
    assert why(worker("w"), offer("a"), run, worker("other", pool="elsewhere")) is None


HUNGRY = entry(1, "a", avoid=("tried",), vram_over=10 * GB)


def test_what_was_too_large_for_one_worker_is_tried_on_a_larger_one_alone() -> None:
    too_few = "has 9.3 GiB of VRAM, and 9.3 GiB were too few"
    assert why(worker("tried"), offer("a"), HUNGRY) == too_few
    assert why(worker("as-large"), offer("a"), HUNGRY) == too_few
    assert why(worker("larger", vram_bytes=11 * GB), offer("a"), HUNGRY) is None
    assert why(worker("unknown", vram_bytes=None), offer("a"), HUNGRY) is None
    index = Index()
    for each in (worker("tried"), worker("as-large"), worker("larger", vram_bytes=11 * GB)):
        index.worker(each, offer("a"), 0.0)
    index.queued(HUNGRY, 0.0)
    assert placed(decide(index, 0.0)) == {run_id(1): "larger"}


def test_what_is_too_large_for_all_of_them_is_told_how_much_was_too_few() -> None:
    index = Index()
    index.worker(worker("tried"), offer("a"), 0.0)
    index.worker(worker("larger", vram_bytes=20 * GB), offer("z"), 0.0)
    index.queued(HUNGRY, 0.0)
    ((_, refused),) = refusals_over_time(index, 1000.0)
    assert refused.error.code == "out_of_memory"
    assert "a worker with 9.3 GiB of VRAM" in refused.error.message
    assert "add a worker with more VRAM" in refused.error.message
    assert refused.error.details["vram_bytes_over"] == 10 * GB


def test_models_of_folders_that_a_catalog_does_not_list_may_be_there() -> None:
    index = Index()
    index.worker(worker("w"), offer("a"), 0.0)
    needs = Needs(("Sampler",), (ModelRef("embeddings", "x"),))
    index.queued(QueueEntry(run_id(1), "j", 1, "default", "normal", 0.0, "p@1", needs), 0.0)
    assert placed(decide(index, 0.0)) == {run_id(1): "w"}


def refusals_over_time(index: Index, until: float) -> list[tuple[float, Refusal]]:
    """What is refused, and when, if whoever decides sleeps until each plan's wake_at."""
    found: list[tuple[float, Refusal]] = []
    now = 0.0
    while now <= until:
        plan = decide(index, now)
        found += [(now, refusal) for refusal in plan.refusals]
        if plan.wake_at is None:
            break
        now = max(now, plan.wake_at)
    return found


def test_a_run_that_nobody_can_do_is_refused_after_two_looks() -> None:
    index = Index()
    index.worker(worker("near"), offer("a", classes=("Sampler",)), 0.0)
    index.worker(worker("far"), offer("z", classes=("Other",)), 0.0)
    index.queued(entry(1, "a", "c", attempt=2), 0.0)
    ((at, refused),) = refusals_over_time(index, 1000.0)
    assert at == 2 * GRACE_S
    assert (refused.run_id, refused.attempt) == (run_id(1), 2)
    assert refused.error.message == (
        "no worker of pool default can run this graph; near comes closest: put c into models/checkpoints of its "
        "ComfyUI, then restart it and submit again"
    )
    assert refused.error.details["workers"]["far"] == ["checkpoints/a", "checkpoints/c", "Sampler"]
    assert len(index) == 0


def test_what_waits_for_a_node_pack_is_told_its_classes() -> None:
    index = Index()
    index.worker(worker("w"), offer("a"), 0.0)
    index.queued(entry(1, "a", classes=("FaceDetailer",)), 0.0)
    ((_, refused),) = refusals_over_time(index, 1000.0)
    assert "install the custom nodes that bring FaceDetailer" in refused.error.message


def test_many_are_refused_some_at_a_time_and_none_of_them_early() -> None:
    index = Index()
    index.worker(worker("w"), offer("a"), 0.0)
    for number in range(1, 2 * AT_ONCE + 10):
        index.queued(entry(number, "c", at=float(number)), 0.0)
    assert not refusals_over_time(index, 2 * GRACE_S - 1)
    index.queued(entry(9999, "d", at=9999.0), 2 * GRACE_S - 1)
    refused = refusals_over_time(index, 1000.0)
    times = [at for at, refusal in refused if refusal.run_id != run_id(9999)]
    assert len(times) == 2 * AT_ONCE + 9
    assert set(times) == {2 * GRACE_S}
    assert refused[-1][0] >= 3 * GRACE_S


@pytest.mark.parametrize("state", [WorkerState.STARTING, WorkerState.DRAINING, WorkerState.DOWN])
def test_a_capable_worker_that_is_not_ready_keeps_hope_alive(state: WorkerState) -> None:
    index = Index()
    index.worker(worker("w"), offer("a"), 0.0)
    index.worker(worker("capable", state=state), offer("c"), 0.0)
    index.queued(entry(1, "c"), 0.0)
    assert not refusals_over_time(index, DOWN_LONG_S - 1)


def test_one_that_is_down_for_long_does_not() -> None:
    index = Index()
    index.worker(worker("w"), offer("a"), 0.0)
    index.worker(worker("capable", state=WorkerState.DOWN), offer("c"), 0.0)
    index.queued(entry(1, "c"), 0.0)
    ((at, _),) = refusals_over_time(index, 10_000.0)
    assert DOWN_LONG_S + GRACE_S <= at <= DOWN_LONG_S + 3 * GRACE_S


def test_a_worker_that_was_never_inspected_may_be_the_one() -> None:
    index = Index()
    index.worker(worker("w"), offer("a"), 0.0)
    index.worker(worker("unknown", state=WorkerState.STARTING), None, 0.0)
    index.queued(entry(1, "c"), 0.0)
    assert not refusals_over_time(index, 10 * GRACE_S)


def test_without_a_ready_worker_nothing_is_refused() -> None:
    index = Index()
    index.worker(worker("w", state=WorkerState.DRAINING), offer("a"), 0.0)
    index.queued(entry(1, "c"), 0.0)
    index.queued(entry(2, "c", pool="nobody"), 0.0)
    assert not refusals_over_time(index, 10 * DOWN_LONG_S)
    assert len(index) == 2


def test_what_somebody_can_do_is_not_refused_however_long_it_waits() -> None:
    index = Index()
    index.worker(worker("w"), offer("a"), 0.0)
    for number in range(1, 100):
        index.queued(entry(number, "a"), 0.0)
    assert not refusals_over_time(index, 10 * GRACE_S)


def test_of_a_queued_run_it_is_told_who_cannot_take_it_and_why() -> None:
    workers = [
        (worker("busy"), offer("a", "b")),
        (worker("drained", state=WorkerState.DRAINING), offer("a", "b")),
        (worker("poor"), offer("b")),
        (worker("failed"), offer("a", "b")),
        (worker("new"), None),
    ]
    assert obstacles(entry(1, "a", avoid=("failed",)), workers) == {
        "drained": "is draining",
        "poor": "has no model checkpoints/a",
        "failed": "lost an earlier attempt of this run, and there are others",
        "new": "has not been inspected yet",
    }
