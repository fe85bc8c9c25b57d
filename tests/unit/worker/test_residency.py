"""What a worker is thought to hold, and what loading was thought to cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.needs import ModelRef
from orchestrator.scheduling.memory import RAM_SHARE, VRAM_SHARE
from orchestrator.scheduling.models import DISK_BYTES_S, FIXED_S, RAM_BYTES_S
from orchestrator.worker.residency import InferredResidency

GB = 1_000_000_000
A, B, C = (ModelRef("checkpoints", f"{name}.safetensors") for name in "abc")


def residency(vram: float = 10, ram: float = 10) -> InferredResidency:
    """With room for so many GB of models, each of which has 4."""
    return InferredResidency(int(vram * GB / VRAM_SHARE), int(ram * GB / RAM_SHARE), dict.fromkeys((A, B, C), 4 * GB))


def test_a_first_load_comes_from_disk_and_the_next_is_none() -> None:
    worker = residency()
    assert worker.run([A]) == pytest.approx(FIXED_S + 4 * GB / DISK_BYTES_S)
    assert worker.run([A]) == 0.0


def test_what_was_pushed_out_comes_back_from_ram() -> None:
    worker = residency()
    for model in (A, B, C):
        worker.run([model])
    assert worker.report().vram == (B, C)
    assert worker.report().ram == (A,)
    assert worker.run([A]) == pytest.approx(FIXED_S + 4 * GB / RAM_BYTES_S)


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
    assert worker.run([A]) > 0


@given(st.lists(st.lists(st.sampled_from([A, B, C]), max_size=3), max_size=12))
def test_what_just_ran_is_in_vram_and_nothing_is_in_two_places(runs: list[list[ModelRef]]) -> None:
    worker = residency(vram=5, ram=5)
    for models in runs:
        assert worker.run(models) >= 0.0
        report = worker.report()
        assert set(models) <= set(report.vram)
        assert not set(report.vram) & set(report.ram)
        assert worker.run(models) == 0.0
