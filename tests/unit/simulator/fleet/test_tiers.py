"""What a simulated worker holds, against a machine of known sizes: VRAM 20, RAM 30, disk 60 GB; 10, 2 and 0.5 GB/s."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.needs import ModelRef
from orchestrator.simulator.fleet.hardware import GB, KIND, Hardware, machines
from orchestrator.simulator.fleet.model_files import ModelFile
from orchestrator.simulator.fleet.tiers import Tier, Tiers

HARDWARE: Hardware = replace(
    machines(KIND, 1, seed=0, horizon_s=0.0)[0],
    vram_bytes=20 * GB, ram_bytes=30 * GB, disk_bytes=60 * GB,
    ram_bytes_s=10 * GB, disk_bytes_s=2 * GB, net_bytes_s=0.5 * GB, fixed_s=0.3,
)  # fmt: skip


def file(name: str, size_gb: float = 10) -> ModelFile:
    return ModelFile(ModelRef("checkpoints", name), round(size_gb * GB))


def test_each_tier_loads_at_its_own_speed() -> None:
    a, b = file("a"), file("b")
    tiers = Tiers(HARDWARE, [a])
    assert tiers.load([a], 0.0).seconds == pytest.approx(0.3 + 10 / 2)  # disk
    assert tiers.load([a], 10.0).seconds == 0.0  # VRAM
    assert tiers.load([b], 20.0).seconds == pytest.approx(0.3 + 10 / 0.5)  # network
    tiers.load([file("c")], 60.0)  # a falls out of VRAM
    assert tiers.load([a], 90.0).seconds == pytest.approx(0.3 + 10 / 10)  # RAM


def test_the_least_recently_used_falls_from_vram_to_ram_to_disk_and_at_last_off_it() -> None:
    files = [file(str(n)) for n in range(8)]
    tiers = Tiers(HARDWARE, [])
    for at, it in enumerate([*files[:2], files[0], *files[2:]]):
        tiers.load([it], at * 100.0)
    names = [[it.ref.name for it in tier.files] for tier in (tiers.vram, tiers.ram, tiers.disk)]
    assert names == [["6", "7"], ["3", "4", "5"], ["2", "3", "4", "5", "6", "7"]]


def test_what_loading_pushes_out_is_counted_and_a_runs_own_files_stay_together() -> None:
    tiers = Tiers(HARDWARE, [])
    tiers.load([file("a"), file("b")], 0.0)
    big = [file("c", 15), file("d", 15)]
    loaded = tiers.load(big, 100.0)
    assert (loaded.files, loaded.bytes, loaded.pushed_out) == (2, 30 * GB, 2)
    assert list(tiers.vram.files) == big


def test_a_failure_leaves_the_disk_alone() -> None:
    a = file("a")
    tiers = Tiers(HARDWARE, [])
    tiers.load([a], 0.0)
    tiers.fail(50.0)
    assert a not in tiers.vram
    assert tiers.load([a], 100.0).seconds == pytest.approx(0.3 + 10 / 2)


def test_a_disk_starts_with_the_most_wanted_files_that_fit() -> None:
    files = [file(str(n), 25) for n in range(4)]
    assert list(Tiers(HARDWARE, files).disk.files) == [files[1], files[0]]


def test_what_was_staged_comes_from_ram() -> None:
    a, b = file("a"), file("b")
    tiers = Tiers(HARDWARE, [a, b])
    tiers.stage([a, b], 100.0)
    assert tiers.load([a], 105.0).seconds == pytest.approx(0.3 + 10 / 10)
    assert tiers.staged_bytes == 10 * GB


def test_what_was_half_staged_comes_half_from_ram() -> None:
    a = file("a")
    tiers = Tiers(HARDWARE, [a])
    tiers.stage([a], 100.0)
    assert tiers.load([a], 102.5).seconds == pytest.approx(0.3 + 5 / 10 + 5 / 2)


def test_a_new_order_stops_what_was_being_staged() -> None:
    a, b = file("a"), file("b")
    tiers = Tiers(HARDWARE, [a, b])
    tiers.stage([a], 100.0)
    tiers.stage([b], 101.0)
    tiers.settle(200.0)
    assert list(tiers.ram.files) == [b]
    assert tiers.staged_bytes == 12 * GB


def test_what_is_fetched_comes_to_the_disk_alone_whatever_is_loaded_meanwhile() -> None:
    a, b, c = file("a"), file("b"), file("c")
    tiers = Tiers(HARDWARE, [c])
    tiers.fetch([a, b], 0.0)
    assert tiers.fetched_at() == 10 / 0.5
    assert tiers.load([c], 5.0).seconds == pytest.approx(0.3 + 10 / 2)
    tiers.settle(30.0)
    assert (a in tiers.disk, a in tiers.ram, b in tiers.disk) == (True, False, False)
    tiers.fetch([c, b], 30.0)  # c is there, and half of b has come
    assert tiers.fetched_at() == 2 * 10 / 0.5
    tiers.fetch([], 35.0)
    assert tiers.fetched_at() is None


def test_loading_and_staging_do_not_share_the_disk() -> None:
    a, b = file("a"), file("b")
    tiers = Tiers(HARDWARE, [a, b])
    tiers.stage([b], 100.0)
    tiers.load([a], 100.0)  # until 105.3
    tiers.settle(105.3)
    assert tiers.staged_bytes == 0
    tiers.settle(110.3)
    assert list(tiers.ram.files) == [b]


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans())))
def test_a_tier_never_holds_more_than_fits(steps: list[tuple[int, bool]]) -> None:
    files = [file(str(n), n + 1) for n in range(10)]
    tier = Tier(20 * GB)
    for n, drop in steps:
        if drop:
            tier.drop(files[n])
        else:
            tier.put(files[n])
            tier.overflow()
            assert files[n] in tier
        assert sum(it.bytes for it in tier.files) <= 20 * GB
