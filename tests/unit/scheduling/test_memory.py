"""What a worker is thought to hold, and what loading that costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import Residency, WorkerState
from orchestrator.scheduling.cost import WARMUP_S, evict_s
from orchestrator.scheduling.fleet import WorkerView
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.memory import Memory
from orchestrator.scheduling.models import DISK_BYTES_S, FIXED_S, PRIOR_BYTES, RAM_BYTES_S, ModelFile, ModelFiles
from tests.unit.scheduling.builders import GB, checkpoint, contents, entry, offer, one, run_id, worker


def file(name: str, size: int) -> ModelFile:
    made = ModelFile(checkpoint(name))
    made.bytes = size
    return made


def test_what_is_used_last_stays_and_the_rest_sinks_to_ram_and_then_to_nothing() -> None:
    memory = Memory(int(11 * GB / 0.9), int(8 * GB / 0.7))
    a, b, c, d = (file(name, 5 * GB) for name in "abcd")
    memory.use([a])
    memory.use([b])
    memory.use([a])
    memory.use([c])
    assert (list(memory.vram), list(memory.ram)) == ([a, c], [b])
    memory.use([d])
    assert (list(memory.vram), list(memory.ram)) == ([c, d], [a])
    memory.use([a])
    assert (list(memory.vram), list(memory.ram)) == ([d, a], [c])


def test_a_set_that_is_too_large_is_held_all_the_same() -> None:
    memory = Memory(GB, GB)
    large = file("large", 50 * GB)
    memory.use([large])
    assert list(memory.vram) == [large]


@given(st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=3, unique=True), max_size=30))
def test_tiers_are_disjoint_within_bounds_and_hold_what_was_used_last(uses: list[list[int]]) -> None:
    files = [file(str(n), (n + 1) * GB) for n in range(8)]
    memory = Memory(int(12 * GB / 0.9), int(20 * GB / 0.7))
    for use in uses:
        wanted = [files[n] for n in use]
        predicted = memory.pushed_out_by(wanted)
        before = set(memory.vram)
        memory.use(wanted)
        assert set(wanted) <= memory.vram.keys()
        assert before - memory.vram.keys() == set(predicted)
        assert not memory.vram.keys() & memory.ram.keys()
        assert sum(held.bytes for held in memory.vram) <= max(memory.vram_bytes, sum(f.bytes for f in wanted))
        assert sum(held.bytes for held in memory.ram) <= memory.ram_bytes


def test_loading_costs_by_bytes_and_by_tier() -> None:
    view = WorkerView(worker("w").info)
    vram, ram, disk = file("vram", 6 * GB), file("ram", 6 * GB), file("disk", 6 * GB)
    view.memory.report([vram], [ram])
    assert view.memory.load_s([vram]) == 0
    assert view.memory.load_s([ram]) == pytest.approx(FIXED_S + 6 * GB / RAM_BYTES_S)
    assert view.memory.load_s([vram, ram, disk]) == pytest.approx(
        2 * FIXED_S + 6 * GB / RAM_BYTES_S + 6 * GB / DISK_BYTES_S
    )


def test_sizes_are_those_that_were_told_else_what_is_common_in_the_folder() -> None:
    files = ModelFiles()
    assert files.file(ModelRef("loras", "x")).bytes == PRIOR_BYTES["loras"]
    files.learn_sizes({ModelRef("loras", "x"): 123, ModelRef("loras", "y"): 0})
    assert files.file(ModelRef("loras", "x")).bytes == 123
    assert files.file(ModelRef("loras", "y")).bytes == PRIOR_BYTES["loras"]


def test_a_report_replaces_what_was_thought_but_for_what_the_assigned_runs_will_load() -> None:
    index = Index()
    index.worker(worker("w"), offer("a", "b"), 0.0, contents(5 * GB, "a", "b"))
    index.queued(entry(1, "a"), 0.0)
    assert one(index).worker == "w"
    index.worker(worker("w", vram=("b",)), None, 1.0)  # read again before the run has loaded anything
    view = index.pools["default"].fleet.workers["w"]
    assert [held.path for held in view.memory.vram] == ["checkpoints/a"]
    assert [held.path for held in view.memory.ram] == ["checkpoints/b"]
    index.ended(run_id(1), Residency((checkpoint("a"),)), 9.0)
    assert [held.path for held in view.memory.files()] == ["checkpoints/a"]


@pytest.mark.parametrize("last", [WorkerState.DOWN, WorkerState.STARTING, WorkerState.RECYCLING])
def test_a_worker_that_does_not_answer_holds_nothing(last: WorkerState) -> None:
    index = Index()
    for state in (WorkerState.READY, last):
        index.worker(worker("w", state=state, vram=("a",), ram=("b",)), offer("a", "b"), 0.0)
    assert not index.pools["default"].fleet.workers["w"].memory.files()
    index.queued(entry(1, "a"), 0.0)
    (group,) = index.pools["default"].queue.line
    assert not index.pools["default"].fleet.holders.of(group.files[0])


def test_what_a_worker_says_that_it_holds_is_believed_while_it_answers() -> None:
    index = Index()
    index.worker(worker("w", vram=("a",)), offer("a", "b"), 0.0)
    index.holds("w", Residency((checkpoint("b"),)), 1.0)
    index.holds("nobody", Residency((checkpoint("b"),)), 1.0)
    memory = index.pools["default"].fleet.workers["w"].memory
    assert [held.path for held in memory.files()] == ["checkpoints/b"]
    index.worker(worker("w", state=WorkerState.DOWN), None, 2.0)
    index.holds("w", Residency((checkpoint("b"),)), 3.0)
    assert not memory.files()


def test_what_a_warm_pool_keeps_is_dear_to_push_out() -> None:
    index = Index()
    for name, model in (("keeps", "a"), ("spare", "b")):
        index.worker(worker(name, vram=(model,)), offer("a", "b", "c"), 0.0)
    fleet = index.pools["default"].fleet
    index.queued(entry(1, "c"), 0.0)
    (group,) = index.pools["default"].queue.line
    keeps, spare = fleet.workers["keeps"], fleet.workers["spare"]
    assert evict_s(keeps, group.files, fleet) == evict_s(spare, group.files, fleet)
    index.keep("default", {checkpoint("a"): 1})
    assert evict_s(keeps, group.files, fleet) >= evict_s(spare, group.files, fleet) + WARMUP_S
    assert one(index).worker == "spare"
    index.worker(worker("another", vram=("a",)), offer("a", "b", "c"), 0.0)
    assert evict_s(keeps, group.files, fleet) < WARMUP_S  # there is one more that holds it
