"""What inventories and snapshots tell, what they cannot, and what becomes of it in a lock."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidRequest
from orchestrator.pins import inventory, snapshot
from orchestrator.pins.diff import differences
from orchestrator.pins.document import dump, parse
from orchestrator.pins.draft import draft, left_out, obstacles
from orchestrator.pins.observed import Observed, SeenCheckout, SeenModel, SeenPack, SeenPackage

A, C, D = "a" * 64, "c" * 40, "d" * 40

INVENTORY: dict[str, Any] = {
    "schema": 1,
    "comfyui": {"version": "0.33.0", "commit": C, "remote": "https://h/c", "dirty": False},
    "python": "3.11.7",
    "torch": "2.11.0",
    "packages": {"numpy": "2.4.6", "My_Pack": "1"},
    "devices": [],
    "node_packs": [
        {"name": "comfyfleet", "imported": True, "own": True, "version": "0.1.0"},
        {"name": "websocket_image_save.py", "imported": True},
        {"name": ".disabled", "imported": False, "error": "no"},
        {"name": "a.b", "imported": False, "error": "No module named 'x'", "commit": D, "dirty": True},
    ],
    "models": [
        {"folder": "vae", "name": "sub/a.safetensors", "bytes": 5, "mtime": 1.5, "sha256": A},
        {"folder": "loras", "name": "b.safetensors", "bytes": 6, "mtime": 1.5, "sha256": None},
        {"folder": "loras", "name": "c.safetensors", "bytes": 7, "mtime": 1.5, "sha256": None},
    ],
    "hashing": {"done": 2, "total": 3},
    "unavailable": {"node_packs.a.b.remote": "no origin", "sha256.loras/b.safetensors": "PermissionError"},
}

SNAPSHOT: dict[str, Any] = {
    "comfyui": C,
    "git_custom_nodes": {
        "https://me:secret@h/Foo.git": {"hash": D, "disabled": False},
        "https://h/Off": {"hash": D, "disabled": True},
    },
    "cnr_custom_nodes": {"bar": "1.2.3"},
    "file_custom_nodes": [
        {"filename": "websocket_image_save.py", "disabled": False},
        {"filename": "mine.py", "disabled": False},
        {"filename": "off.py", "disabled": True},
    ],
    "pips": {"numpy==2.4.6": "", "My_Pack": "file:///src/mine", "-e git+https://h/x#egg=x": "", "# a note": ""},
}

FOLDER = Observed(
    SeenCheckout(C, "https://fork/c", ""),
    {"Foo": SeenPack(SeenCheckout(D, "https://h/Foo", "")), "Bar": SeenPack(SeenCheckout(D, "https://h/Bar", ""))},
    "3.11.7",
    {"numpy": SeenPackage("9")},
    {"vae/x.safetensors": SeenModel(A, 5, "file:///m/x.safetensors")},
)


def test_an_inventory_tells_what_runs() -> None:
    seen = inventory.parse(INVENTORY)
    assert seen.comfyui == SeenCheckout(C, "https://h/c", "")
    assert seen.node_packs == {"a.b": SeenPack(SeenCheckout(D, None, "some that git tracks"), "No module named 'x'")}
    assert (seen.python, seen.packages) == ("3.11.7", {"numpy": SeenPackage("2.4.6"), "my-pack": SeenPackage("1")})
    assert seen.models and seen.models["vae/sub/a.safetensors"] == SeenModel(A, 5)
    assert seen.why("model loras/b.safetensors") == "PermissionError"
    assert seen.why("node_pack a.b") == "no origin"


def test_it_is_asked_again_until_the_wanted_digests_are_there() -> None:
    assert inventory.unhashed(INVENTORY, None) == ["loras/c.safetensors"]
    assert inventory.unhashed(INVENTORY, {"vae/sub/a.safetensors", "loras/b.safetensors"}) == []


def test_what_an_inventory_lacks_is_unknown_and_says_why() -> None:
    seen = inventory.parse({"schema": 1, "unavailable": {"packages": "KeyError", "models": "no folder_paths"}})
    assert (seen.comfyui.commit, seen.node_packs, seen.python, seen.packages, seen.models) == (None,) * 5
    assert (seen.why("package"), seen.why("model")) == ("KeyError", "no folder_paths")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(INVENTORY)), json_values))
def test_an_inventory_of_any_shape_is_read_or_refused(found: dict[str, Any]) -> None:
    seen = inventory.parse({**found, "schema": 1})
    assert inventory.unhashed({**found, "schema": 1}, None) == [
        name for name, model in (seen.models or {}).items() if model.sha256 is None
    ]


@pytest.mark.parametrize("document", [None, [], {}, {"schema": 2}])
def test_another_schema_is_refused(document: object) -> None:
    with pytest.raises(InvalidRequest, match="one release"):
        inventory.parse(document)


def test_a_snapshot_tells_commits_and_versions_and_no_secrets() -> None:
    seen = snapshot.parse(json.dumps(SNAPSHOT), "s.json")
    assert seen.comfyui.commit == C
    assert seen.node_packs and seen.node_packs["Foo"] == SeenPack(SeenCheckout(D, "https://h/Foo.git", ""))
    assert seen.node_packs.keys() == {"Foo", "bar", "mine.py"}
    assert seen.packages and seen.packages["numpy"] == SeenPackage("2.4.6")
    assert seen.packages["my-pack"].origin == "file:///src/mine"
    assert (seen.python, seen.models) == (None, None)


def test_what_a_snapshot_cannot_know_is_named_with_what_to_do() -> None:
    seen = snapshot.parse(json.dumps(SNAPSHOT), "s.json")
    problems = "\n".join(obstacles(seen, allow_pickle=False))
    assert "node pack bar has no known commit (it came from ComfyUI's registry in version 1.2.3" in problems
    assert "node pack mine.py has no known commit (it is a single file" in problems
    assert "the version of Python is unknown (a snapshot does not know it): name the interpreter" in problems
    assert "package my-pack was installed from file:///src/mine" in problems
    assert left_out(seen, allow_pickle=False) == [
        "no models are locked, as they are unknown: a snapshot does not know it"
    ]


def test_a_folder_completes_a_snapshot() -> None:
    small = {**SNAPSHOT, "file_custom_nodes": [], "pips": {"numpy==2.4.6": ""}}
    seen = snapshot.completed(snapshot.parse(json.dumps(small), "s.json"), FOLDER)
    assert obstacles(seen, allow_pickle=False) == []
    lock = draft(seen, {"numpy": (A,)}, allow_pickle=False)
    assert (lock.comfyui.repo, lock.python, lock.packages["numpy"].version) == ("https://fork/c", "3.11.7", "2.4.6")
    assert {name: pin.commit for name, pin in lock.node_packs.items()} == {"Foo": D, "Bar": D}
    assert lock.models["vae/x.safetensors"].sources == ("file:///m/x.safetensors",)


def test_a_snapshot_without_packages_takes_the_folders() -> None:
    seen = snapshot.completed(snapshot.parse(json.dumps({**SNAPSHOT, "pips": None}), "s.json"), FOLDER)
    assert seen.packages == FOLDER.packages


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"comfyui": 1}', "{", "a: [", '{"custom_nodes": 3}'])
def test_other_files_are_no_snapshots(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"s\.json"):
        snapshot.parse(text, "s.json")


def test_a_snapshot_saved_as_yaml_is_one_too() -> None:
    assert snapshot.parse(json.dumps({"custom_nodes": SNAPSHOT}), "s.yaml") == snapshot.parse(
        json.dumps(SNAPSHOT), "s.yaml"
    )


def test_what_is_locked_as_seen_has_no_differences() -> None:
    lock = draft(FOLDER, {"numpy": (A,)}, allow_pickle=False)
    assert differences(lock, FOLDER) == ()
    assert parse(dump(lock), "f") == lock


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (replace(FOLDER, comfyui=SeenCheckout(C, None, "")), "ComfyUI has no remote `origin`"),
        (replace(FOLDER, comfyui=SeenCheckout(C, "http://h/c", "")), "a http address"),
        (replace(FOLDER, comfyui=SeenCheckout(C, "https://h/c", "main.py")), "main.py. Commit and push them"),
        (replace(FOLDER, comfyui=SeenCheckout(C, "https://h/c")), "whether its files are as committed is unknown"),
        (replace(FOLDER, node_packs=None), "the node packs are unknown"),
        (replace(FOLDER, packages=None), "the packages are unknown"),
        (replace(FOLDER, models={"vae/x.ckpt": SeenModel(A, 5)}), "vae/x.ckpt is a .ckpt file"),
        (replace(FOLDER, models={"vae/x.gguf": SeenModel(None, 5)}), "vae/x.gguf has no known sha256"),
        (replace(FOLDER, models={"vae/.x.gguf": SeenModel(A, 5)}), "rename it"),
        (replace(FOLDER, models={"vae/x.gguf": SeenModel("a", 5)}), "vae/x.gguf has no known sha256"),
        (replace(FOLDER, comfyui=SeenCheckout("main", "https://h/c", "")), "no commit id"),
        (replace(FOLDER, python="3.11/../../tmp/x"), "no version of Python"),
        (replace(FOLDER, packages={"--index-url=x": SeenPackage("1")}), "no name and version that pip would know"),
        (replace(FOLDER, packages={"x": SeenPackage("1 --index-url=x")}), "no name and version that pip would know"),
    ],
)
def test_obstacles_say_what_to_do(seen: Observed, words: str) -> None:
    [problem] = obstacles(seen, allow_pickle=False)
    assert words in problem


def test_pickles_are_locked_when_asked_for_and_previews_never_unasked() -> None:
    models = {"vae/x.ckpt": SeenModel(A, 5, "file:///x"), "vae/x.png": SeenModel(A, 5, "file:///p")}
    seen = replace(FOLDER, models=models)
    assert obstacles(seen, allow_pickle=True) == []
    lock = draft(seen, {"numpy": (A,)}, allow_pickle=True)
    assert lock.allow_pickle
    assert "vae/x.ckpt" in lock.models
    assert left_out(seen, allow_pickle=False) == ["not locked, as these are no kinds of model files: vae/x.png"]


def test_models_without_a_source_are_named() -> None:
    assert left_out(replace(FOLDER, models={"vae/x.gguf": SeenModel(A, 5)}), allow_pickle=False) == [
        "write where they can be fetched from into `sources` of these models: vae/x.gguf"
    ]
