"""Every way to differ from a lock has its words, and the locked environment has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.pins.diff import differences
from orchestrator.pins.lock import Checkout, Lock, Model, Package
from orchestrator.pins.observed import Observed, SeenCheckout, SeenModel, SeenPack, SeenPackage

C, D = "c" * 40, "d" * 40
A, B = "a" * 64, "b" * 64
LOCK = Lock(
    Checkout("https://h/c", C),
    "3.11.7",
    {"numpy": Package("1.26", (A,))},
    {"Foo": Checkout("https://h/foo", C)},
    {"vae/x.safetensors": Model(A, 5)},
)
CLEAN = SeenCheckout(C, "https://elsewhere/c", "")
SEEN = Observed(
    CLEAN,
    {"Foo": SeenPack(CLEAN)},
    "3.11.7",
    {"numpy": SeenPackage("1.26")},
    {"vae/x.safetensors": SeenModel(A, 5), "vae/extra.safetensors": SeenModel(B, 7)},
)


def test_the_locked_environment_has_no_differences_and_extra_models_do_no_harm() -> None:
    assert differences(LOCK, SEEN) == ()


def foo(checkout: SeenCheckout, failure: str | None = None) -> Observed:
    return replace(SEEN, node_packs={"Foo": SeenPack(checkout, failure)})


def numpy(package: SeenPackage | None) -> Observed:
    return replace(SEEN, packages={} if package is None else {"numpy": package})


def vae(model: SeenModel | None) -> Observed:
    return replace(SEEN, models={} if model is None else {"vae/x.safetensors": model})


@pytest.mark.parametrize(
    ("seen", "subject", "message"),
    [
        (
            replace(SEEN, comfyui=SeenCheckout(D, None, "")),
            "ComfyUI",
            "ComfyUI is at commit dddddddddddd, the lock says cccccccccccc",
        ),
        (
            replace(SEEN, comfyui=SeenCheckout(C, None, "main.py, nodes.py")),
            "ComfyUI",
            "ComfyUI has files that differ from commit cccccccccccc: main.py, nodes.py",
        ),
        (
            replace(SEEN, comfyui=SeenCheckout(None), gaps={"comfyui": "/x is no git checkout"}),
            "ComfyUI",
            "ComfyUI is at an unknown commit (/x is no git checkout), the lock says cccccccccccc",
        ),
        (
            replace(SEEN, comfyui=SeenCheckout(C), gaps={"comfyui": "git is not installed"}),
            "ComfyUI",
            "ComfyUI is at the locked commit, but whether its files are as committed is unknown (git is not installed)",
        ),
        (
            foo(SeenCheckout(D, None, "")),
            "node pack Foo",
            "node pack Foo is at commit dddddddddddd, the lock says cccccccccccc",
        ),
        (
            foo(CLEAN, "No module named 'x'"),
            "node pack Foo",
            "node pack Foo was not imported by ComfyUI: No module named 'x'",
        ),
        (
            replace(SEEN, node_packs={}),
            "node pack Foo",
            "node pack Foo is missing, the lock says commit cccccccccccc",
        ),
        (
            replace(SEEN, node_packs={"Foo": SeenPack(CLEAN), "Bar": SeenPack(SeenCheckout(None))}),
            "node pack Bar",
            "node pack Bar is not in the lock: remove it from custom_nodes, or write the lock anew",
        ),
        (
            replace(SEEN, node_packs=None, gaps={"node_packs": "no access"}),
            "node packs",
            "the node packs are unknown (no access)",
        ),
        (replace(SEEN, python="3.12.1"), "Python", "Python is 3.12.1, the lock says 3.11.7"),
        (
            replace(SEEN, python=None, gaps={"python": "there is none"}),
            "Python",
            "Python is unknown (there is none), the lock says 3.11.7",
        ),
        (numpy(SeenPackage("2.0")), "package numpy", "package numpy is 2.0, the lock says 1.26"),
        (numpy(None), "package numpy", "package numpy is missing, the lock says 1.26"),
        (
            numpy(SeenPackage("1.26", "file:///numpy")),
            "package numpy",
            "package numpy was installed from file:///numpy, not from an archive that the lock names",
        ),
        (
            replace(SEEN, packages={"numpy": SeenPackage("1.26"), "zap": SeenPackage("1")}),
            "package zap",
            "package zap 1 is not in the lock: uninstall it, or write the lock anew",
        ),
        (
            replace(SEEN, packages=None, gaps={"packages": "there is none"}),
            "packages",
            "the packages are unknown (there is none)",
        ),
        (
            vae(SeenModel(B, 5)),
            "model vae/x.safetensors",
            "model vae/x.safetensors has sha256 bbbbbbbbbbbb, the lock says aaaaaaaaaaaa",
        ),
        (
            vae(SeenModel(B, 4)),
            "model vae/x.safetensors",
            "model vae/x.safetensors has sha256 bbbbbbbbbbbb and 4 bytes, the lock says aaaaaaaaaaaa and 5 bytes",
        ),
        (
            vae(None),
            "model vae/x.safetensors",
            "model vae/x.safetensors is missing, the lock says sha256 aaaaaaaaaaaa (5 bytes)",
        ),
        (
            replace(vae(SeenModel(None, 5)), gaps={"model vae/x.safetensors": "Input/output error"}),
            "model vae/x.safetensors",
            "model vae/x.safetensors has an unknown sha256 (Input/output error), the lock says aaaaaaaaaaaa",
        ),
        (replace(SEEN, models=None, gaps={"models": "no"}), "models", "the models are unknown (no)"),
    ],
)
def test_each_difference_is_named_once_and_alone(seen: Observed, subject: str, message: str) -> None:
    [difference] = differences(LOCK, seen)
    assert (difference.subject, difference.message) == (subject, message)


def test_differences_say_both_sides_in_full() -> None:
    [difference] = differences(LOCK, vae(SeenModel(B, 5)))
    assert (difference.locked, difference.found) == (A, B)


def test_an_archive_that_the_lock_names_may_come_from_anywhere() -> None:
    assert differences(LOCK, numpy(SeenPackage("1.26", "file:///numpy.whl", A))) == ()


def test_all_differences_are_named_at_once() -> None:
    nothing = Observed(SeenCheckout(None), {}, None, None, {})
    assert [found.subject for found in differences(LOCK, nothing)] == [
        "ComfyUI", "node pack Foo", "Python", "packages", "model vae/x.safetensors",
    ]  # fmt: skip


def test_a_model_that_need_not_be_there_yet_may_be_missing_and_nothing_else() -> None:
    later = ("vae/x.safetensors",)
    assert differences(LOCK, replace(SEEN, models={}), later) == ()
    (wrong,) = differences(LOCK, replace(SEEN, models={"vae/x.safetensors": SeenModel(B, 5)}), later)
    assert wrong.found == B
