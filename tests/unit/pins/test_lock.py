"""What makes two locks the same environment, and which names may be made files of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.pins.lock import (
    Checkout,
    Lock,
    Model,
    Package,
    allows_python,
    fault_of_kind,
    fault_of_model_name,
    fault_of_pack_name,
    normalised,
)

A, B = "a" * 64, "b" * 64
LOCK = Lock(
    Checkout("https://a.example/c", "c" * 40),
    "3.11.7",
    {"numpy": Package("2.0", (A, B))},
    {"P": Checkout("/srv/p", "d" * 40)},
    {"vae/x.safetensors": Model(A, 5, ("https://a.example/x",))},
)


def test_the_digest_does_not_depend_on_where_things_are_fetched_from() -> None:
    moved = replace(
        LOCK,
        comfyui=Checkout("/mirror", LOCK.comfyui.commit),
        packages={"numpy": Package("2.0", (B, A))},
        models={"vae/x.safetensors": Model(A, 5, ())},
    )
    assert moved.digest == LOCK.digest
    assert LOCK.digest.startswith("blake3:")


@pytest.mark.parametrize(
    "changed",
    [
        replace(LOCK, comfyui=Checkout("https://a.example/c", "e" * 40)),
        replace(LOCK, python="3.11"),
        replace(LOCK, packages={"numpy": Package("2.1", (A, B))}),
        replace(LOCK, packages={"numpy": Package("2.0", (A,))}),
        replace(LOCK, packages={}),
        replace(LOCK, node_packs={"Q": LOCK.node_packs["P"]}),
        replace(LOCK, models={"vae/x.safetensors": Model(B, 5)}),
        replace(LOCK, models={"vae/y.safetensors": Model(A, 5)}),
        replace(LOCK, allow_pickle=True),
    ],
)
def test_the_digest_tells_environments_apart(changed: Lock) -> None:
    assert changed.digest != LOCK.digest


@pytest.mark.parametrize(
    ("pin", "version", "allowed"),
    [
        ("3.11", "3.11.7", True),
        ("3.11.7", "3.11.7", True),
        ("3.11.7", "3.11.8", False),
        ("3.1", "3.11.7", False),
        ("3.11", "3.12.1", False),
        ("3.11.7", "3.11", False),
    ],
)
def test_a_python_pin_allows_what_begins_with_it(pin: str, version: str, allowed: bool) -> None:
    assert allows_python(pin, version) is allowed


@pytest.mark.parametrize("name", ["loras/x.safetensors", "a/b/c/ä ö.gguf", "a/-x.onnx"])
def test_names_of_models(name: str) -> None:
    assert fault_of_model_name(name) is None


@pytest.mark.parametrize(
    "name", ["", "x", "/x", "x/", "a//b", "../a", "a/..", "a/./b", "a/.b", "a/b\x00", "a\\b/c", "a/" + "x" * 256]
)
def test_names_that_would_escape_or_are_none(name: str) -> None:
    assert fault_of_model_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".git", "__pycache__", "x.disabled", "a\nb"])
def test_folders_that_are_no_node_packs(name: str) -> None:
    assert fault_of_pack_name(name)


def test_only_safe_kinds_of_files_unless_all_are_allowed() -> None:
    assert fault_of_kind("a/x.SAFETENSORS", allow_pickle=False) is None
    for name in ("a/x.ckpt", "a/x.pt", "a/x.pth", "a/x.bin", "a/x.safetensors.pkl", "a/x"):
        assert fault_of_kind(name, allow_pickle=False)
        assert fault_of_kind(name, allow_pickle=True) is None


def test_spellings_of_a_package() -> None:
    assert {normalised(name) for name in ("Foo.Bar", "foo_bar", "FOO-.-bar")} == {"foo-bar"}
