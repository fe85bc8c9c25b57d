"""What a worker is thought to hold, and what loading was thought to cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.comfy.memory import parse_memory
from orchestrator.domain.needs import ModelRef
from orchestrator.scheduling.memory import RAM_SHARE, VRAM_SHARE
from orchestrator.scheduling.models import DISK_BYTES_S, FIXED_S, RAM_BYTES_S
from orchestrator.worker.residency import DISK, MOVED, NO_PACK, RAM, Loading, WorkerMemory

GB = 1_000_000_000
A, B, C = (ModelRef("checkpoints", f"{name}.safetensors") for name in "abc")


def residency(vram: float = 10, ram: float = 10) -> WorkerMemory:
    """With room for so many GB of models, each of which has 4."""
    return WorkerMemory(int(vram * GB / VRAM_SHARE), int(ram * GB / RAM_SHARE), dict.fromkeys((A, B, C), 4 * GB))


def used(worker: WorkerMemory, models: Iterable[ModelRef]) -> float:
    """Seconds that a run with these models is thought to have loaded."""
    models = list(models)
    seconds = worker.load_s(models)
    worker.run(models)
    return seconds


def test_a_first_load_comes_from_disk_and_the_next_is_none() -> None:
    worker = residency()
    assert used(worker, [A]) == pytest.approx(FIXED_S + 4 * GB / DISK_BYTES_S)
    assert used(worker, [A]) == 0.0


def test_what_was_pushed_out_comes_back_from_ram() -> None:
    worker = residency()
    for model in (A, B, C):
        worker.run([model])
    assert worker.report().vram == (B, C)
    assert worker.report().ram == (A,)
    assert used(worker, [A]) == pytest.approx(FIXED_S + 4 * GB / RAM_BYTES_S)


def test_the_report_tells_only_sizes_that_are_known() -> None:
    worker = residency()
    other = ModelRef("loras", "unknown.safetensors")
    worker.run([A, other])
    report = worker.report()
    assert set(report.vram) == {A, other}
    assert report.sizes == {A: 4 * GB}
    assert report.source == "inferred"


def test_nothing_is_left_after_an_unload() -> None:
    worker = residency()
    worker.run([A])
    worker.clear()
    assert worker.report().vram == ()
    assert used(worker, [A]) > 0


@given(st.lists(st.lists(st.sampled_from([A, B, C]), max_size=3), max_size=12))
def test_what_just_ran_is_in_vram_and_nothing_is_in_two_places(runs: list[list[ModelRef]]) -> None:
    worker = residency(vram=5, ram=5)
    for models in runs:
        assert used(worker, models) >= 0.0
        report = worker.report()
        assert set(models) <= set(report.vram)
        assert not set(report.vram) & set(report.ram)
        assert used(worker, models) == 0.0


# --- measured ---


def told(name: str, size: int = 4 * GB, **more: Any) -> dict[str, Any]:
    return {"folder": "checkpoints", "name": f"{name}.safetensors", "bytes": size, "file_bytes": 4 * GB, **more}


def loaded(name: str, size: int, on_device: int, **more: Any) -> dict[str, Any]:
    return told(name, size, loaded_bytes=on_device, device="cuda:0", **more)


def measure(worker: WorkerMemory, loaded: Any = (), cached: Any = (), **unavailable: str) -> None:
    body = {"models": list(loaded), "cache": {"policy": "lru", "models": list(cached)}, "vram": {"device": "cuda:0"}}
    shown = {key: value for key, value in body.items() if key not in unavailable}
    worker.measure(parse_memory({"schema": 1, **shown, "unavailable": unavailable}))


def test_the_parts_of_a_checkpoint_are_one_file() -> None:
    worker = residency()
    parts = [loaded("a", size * GB // 10, size * GB // 10) for size in (30, 6, 4)]
    measure(worker, parts, [told("a"), told("b")])
    report = worker.report()
    assert (report.vram, report.ram, report.source, report.why) == ((A,), (B,), "measured", "")
    assert report.held == {A: 4 * GB, B: 4 * GB}
    assert report.sizes[A] == 4 * GB


def test_a_file_is_in_vram_when_most_of_what_is_held_of_it_is() -> None:
    worker = residency()
    measure(worker, [loaded("b", 4 * GB, GB), loaded("a", 3 * GB, 3 * GB)], [told("a"), told("b")])
    assert (worker.report().vram, worker.report().ram) == ((A,), (B,))


def test_what_computes_on_the_cpu_beside_a_gpu_is_in_ram() -> None:
    worker = residency()
    measure(worker, [told("a", loaded_bytes=4 * GB, device="cpu")])
    assert (worker.report().vram, worker.report().ram) == ((), (A,))
    worker.measure(parse_memory({"models": [told("a", loaded_bytes=4 * GB, device="cpu")], "cache": {"models": []}}))
    assert worker.report().vram == (A,)  # there is nothing else to compute on


def test_a_lora_is_where_the_model_is_that_it_changes() -> None:
    worker = residency()
    lora = {"folder": "loras", "name": "ink.safetensors"}
    measure(worker, [loaded("a", GB, GB, patches=[lora])], [{**lora, "bytes": 37}])
    assert set(worker.report().vram) == {A, ModelRef("loras", "ink.safetensors")}
    assert worker.report().ram == ()


def test_measured_replaces_inferred_and_inference_goes_on_from_there() -> None:
    worker = residency()
    worker.run([A])
    measure(worker, [loaded("b", 4 * GB, 4 * GB)])
    assert worker.report().vram == (B,)
    worker.run([B])
    assert worker.report().source == "measured"  # it moved nothing
    assert used(worker, [A]) > 0
    report = worker.report()
    assert (report.vram, report.source, report.why, report.held) == ((B, A), "inferred", MOVED, {})


def test_what_the_pack_cannot_read_stays_inferred() -> None:
    worker = residency()
    worker.run([A])
    measure(worker, cached=[told("b")], models="current_loaded_models is gone")
    report = worker.report()
    assert (report.vram, report.ram, report.source) == ((A,), (B,), "inferred")
    assert report.why == "models: current_loaded_models is gone"
    measure(worker, [loaded("c", 4 * GB, 4 * GB)], cache="no executor")
    report = worker.report()
    assert (report.vram, report.ram, report.source, report.why) == ((C,), (B,), "measured", "cache: no executor")


def test_files_without_a_name_leave_what_was_inferred_beside_what_is_known() -> None:
    worker = residency()
    worker.run([A])
    nameless = {"folder": None, "name": None, "bytes": 5, "loaded_bytes": 5, "device": "cuda:0"}
    measure(worker, [nameless, loaded("b", GB, GB)], files="1 entries name no file")
    assert worker.report().vram == (A, B)
    measure(worker, files="1 entries name no file")
    assert worker.report().vram == ()  # nothing at all is held


def test_sizes_below_nothing_are_not_believed() -> None:
    worker = residency()
    measure(worker, [loaded("a", -GB, -GB)], cache="no executor")
    assert worker.report().held == {}


def test_embeddings_are_nothing_that_a_pack_could_see() -> None:
    worker = residency()
    embedding = ModelRef("embeddings", "easynegative")
    worker.run([A, embedding])
    measure(worker, [loaded("a", GB, GB)])
    assert set(worker.report().vram) == {A, embedding}


def test_without_a_pack_the_reason_is_told() -> None:
    worker = residency()
    measure(worker, [loaded("a", GB, GB)])
    worker.unmeasured(NO_PACK)
    assert (worker.report().source, worker.report().why) == ("inferred", NO_PACK)


def test_what_was_read_ahead_counts_as_in_ram_until_a_run_uses_it_whatever_is_measured() -> None:
    worker = residency()
    worker.staged(A)
    nothing_held = parse_memory({"models": [], "cache": {"policy": "classic", "models": []}})
    worker.measure(nothing_held)
    assert worker.report().ram == (A,)
    assert used(worker, [A]) == pytest.approx(FIXED_S + 4 * GB / RAM_BYTES_S)
    assert (worker.report().vram, worker.report().ram) == ((A,), ())


def test_what_is_in_vram_is_not_also_in_ram_because_it_was_read_ahead() -> None:
    worker = residency()
    worker.run([A])
    worker.staged(A)
    assert (worker.report().vram, worker.report().ram) == ((A,), ())


def test_what_a_run_would_load_is_told_by_where_it_is_and_what_has_to_go() -> None:
    worker = residency(vram=10)
    assert worker.loading([A, B]) == Loading(((DISK, 4 * GB), (DISK, 4 * GB)), 0, swaps=False)
    worker.run([A, B])
    assert worker.loading([B, C]) == Loading(((DISK, 4 * GB),), 1, swaps=True)
    worker.run([B, C])
    assert worker.loading([A]) == Loading(((RAM, 4 * GB),), 0, swaps=True)
