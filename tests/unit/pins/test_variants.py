"""Which files of one name differ for certain, and how that is told."""

from __future__ import annotations

from orchestrator.pins.observed import SeenModel
from orchestrator.pins.variants import variants

A, B = "a" * 64, "b" * 64


def test_two_digests_of_one_name_are_told_with_who_has_them() -> None:
    has = {"w1": {"vae/x": SeenModel(A, 7)}, "w2": {"vae/x": SeenModel(B, 7)}, "w3": {"vae/x": SeenModel(A, 7)}}
    assert variants(has) == {"vae/x": {f"sha256 {'a' * 12}": ["w1", "w3"], f"sha256 {'b' * 12}": ["w2"]}}


def test_two_sizes_differ_though_nobody_has_read_the_files() -> None:
    has = {"w1": {"vae/x": SeenModel(A, 7)}, "w2": {"vae/x": SeenModel(None, 8)}}
    assert variants(has) == {"vae/x": {f"sha256 {'a' * 12}": ["w1"], "8 bytes that nobody has read yet": ["w2"]}}


def test_what_may_be_the_same_and_what_only_one_has_is_no_difference() -> None:
    assert not variants({
        "w1": {"vae/x": SeenModel(A, 7), "vae/y": SeenModel(B, 9)},
        "w2": {"vae/x": SeenModel(None, 7), "vae/z": SeenModel(None, 9)},
    })  # fmt: skip
