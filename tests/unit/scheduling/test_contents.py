"""Files of one name that are different models: each worker's is its own, in size, in seconds, and in who holds it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.needs import Content
from orchestrator.scheduling.cost import evict_s
from orchestrator.scheduling.fleet import Fleet, WorkerView
from orchestrator.scheduling.index import Index
from orchestrator.scheduling.models import DISK_BYTES_S, FIXED_S, RAM_BYTES_S, UNTOLD, Contents, ModelFile
from tests.unit.scheduling.builders import GB, checkpoint, contents, entry, offer, one, run_id, worker

ANY = offer("a", "b")


def view_of(index: Index, name: str) -> WorkerView:
    return index.pools["default"].fleet.workers[name]


def test_each_worker_loads_what_it_has_under_the_name() -> None:
    index = Index()
    index.worker(worker("light"), ANY, 0.0, contents(2 * GB, "a", sha256="x"))
    index.worker(worker("heavy"), ANY, 0.0, contents(8 * GB, "a", sha256="y"))
    index.queued(entry(1, "a"), 0.0)
    placement = one(index)
    assert placement.worker == "light"
    assert placement.reasons["load_s"] == pytest.approx(FIXED_S + 2 * GB / DISK_BYTES_S)
    assert placement.reasons["considered"][0]["load_s"] == pytest.approx(FIXED_S + 8 * GB / DISK_BYTES_S)


@pytest.mark.parametrize(
    ("theirs", "holders"),
    [("x", 2), ("y", 1), (None, 2)],
    ids=("the same", "another", "unknown: the name alone decides"),
)
def test_what_is_pushed_out_is_cheap_only_if_another_holds_the_same(theirs: str | None, holders: int) -> None:
    index = Index()
    index.worker(worker("here", vram=("a",)), ANY, 0.0, contents(6 * GB, "a", "b", sha256="x"))
    index.worker(worker("there", vram=("a",)), ANY, 0.0, contents(6 * GB, "a", "b", sha256=theirs))
    index.queued(entry(1, "b"), 0.0)
    (group,) = index.pools["default"].queue.line
    fleet, here = index.pools["default"].fleet, view_of(index, "here")
    assert evict_s(here, group.files, fleet) == pytest.approx((FIXED_S + 6 * GB / RAM_BYTES_S) / holders)
    (file,) = here.memory.vram
    assert list(fleet.holders.of(file)) == [here, view_of(index, "there")], "a run that asks for the name is warm there"


def test_a_digest_that_comes_to_be_known_counts_from_then_on() -> None:
    index = Index()
    for name in ("here", "there"):
        index.worker(worker(name, vram=("a",)), ANY, 0.0, contents(6 * GB, "a"))
    here, there = view_of(index, "here"), view_of(index, "there")
    (file,) = here.memory.vram
    holders = index.pools["default"].fleet.holders
    assert holders.alike(file, here) == 2
    index.worker(worker("here", vram=("a",)), ANY, 1.0, contents(6 * GB, "a", sha256="x"))
    assert (holders.alike(file, here), holders.alike(file, there)) == (2, 2)
    index.worker(worker("there", vram=("a",)), ANY, 2.0, contents(6 * GB, "a", sha256="y"))
    assert (holders.alike(file, here), holders.alike(file, there)) == (1, 1)
    index.forgotten("there", 3.0)
    assert (holders.alike(file, here), holders.alike(file, there)) == (1, 0)


def test_a_run_still_goes_where_its_model_is_in_memory_whichever_bytes_that_are() -> None:
    index = Index()
    index.worker(worker("cold"), ANY, 0.0, contents(6 * GB, "a", sha256="x"))
    index.worker(worker("warm", vram=("a",)), ANY, 0.0, contents(6 * GB, "a", sha256="y"))
    index.queued(entry(1, "a"), 0.0)
    placement = one(index)
    assert (placement.worker, placement.run_id) == ("warm", run_id(1))
    assert placement.reasons["load_s"] == 0


Step = tuple[int, frozenset[int], str | None]
steps = st.lists(
    st.tuples(st.integers(0, 2), st.frozensets(st.integers(0, 2)), st.sampled_from([None, "x", "y"])), max_size=30
)


@given(steps)
def test_holders_count_what_each_holds_under_what_it_is_known_as(lives: list[Step]) -> None:
    """Whatever comes first, what a worker holds or what that is known to be."""
    files = [ModelFile(checkpoint(letter)) for letter in "abc"]
    fleet, views = Fleet(), [WorkerView(worker(f"w{n}").info) for n in range(3)]
    for number, held, sha256 in lives:
        view = views[number]
        known = {file.ref: Content(GB, sha256) for file in files}
        fleet.tell(view, Contents(known) if sha256 else UNTOLD)
        view.memory.report([files[n] for n in held], ())
        fleet.update(view, is_open=bool(held))
    for file in files:
        assert set(fleet.open_holders.of(file)) == fleet.holders.of(file).keys() & fleet.open.keys()
        for view in views:
            mine = view.memory.contents.sha256(file)
            theirs = [it.memory.contents.sha256(file) for it in views if file in it.memory.vram]
            alike = [sha256 for sha256 in theirs if None in (mine, sha256) or sha256 == mine]
            assert fleet.holders.alike(file, view) == len(alike)
