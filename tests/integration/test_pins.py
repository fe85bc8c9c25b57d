"""Lock, provision, verify: real git, real pip, real environments, on a world that fits into a folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.errors import Conflict
from orchestrator.pins import document, git, state
from orchestrator.pins.exclusive import held
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.lock import Checkout, Lock
from orchestrator.pins.observe import observe
from tests.fixtures import pinned
from tests.fixtures.pinned import World, make_wheel, make_world, noise

BIG = "checkpoints/sub/big.safetensors"

Run = Callable[..., str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def surroundings(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.root)
    for name, value in world.pip_environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command, and gives what it says on stdout and stderr."""

    def run(*command: str | Path, code: int = 0) -> str:
        result = CliRunner().invoke(app, [str(part) for part in command])
        assert result.exit_code == code, f"{command}: {result.output}"
        return result.output

    return run


@pytest.fixture
def lock_file(world: World, run: Run) -> Path:
    """The lock of the installation, written once."""
    file = world.root / "ops" / "prod.lock.yaml"
    if not file.exists():
        said = run("lock", "--from", world.comfyui, "-o", file)
        assert "1 node packs, Python" in said
        assert "2 packages, 2 models (3.0 MB)" in said
    return file


@pytest.fixture
def made(world: World, run: Run, lock_file: Path) -> Path:
    """A folder that is provisioned from the lock, as it must be again when a test ends."""
    folder = world.root / "made"
    if not folder.exists():
        assert "is what" in run("provision", "--lock", lock_file, "--to", folder)
    return folder


def load(file: Path) -> Lock:
    return document.parse(file.read_text(), str(file))


@pytest.fixture
def bare_lock(lock_file: Path) -> Path:
    """The lock without its packages, whose environment is made in no time."""
    document = yaml.safe_load(lock_file.read_text())
    document["python"]["packages"] = {}
    bare = lock_file.with_name("bare.lock.yaml")
    bare.write_text(yaml.safe_dump(document))
    return bare


def edited(lock_file: Path, name: str, *changes: tuple[str, str]) -> Path:
    """A copy of the lock, under another name, with some text replaced."""
    text = lock_file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    copy = lock_file.with_name(f"{name}.lock.yaml")
    copy.write_text(text)
    return copy


# --- the way through ---


def test_a_lock_names_all_that_an_installation_is_made_of(world: World, lock_file: Path) -> None:
    lock = load(lock_file)
    assert lock.comfyui == Checkout(str(world.git / "ComfyUI"), world.commits["ComfyUI"][1])
    assert lock.node_packs == {"PackA": Checkout(str(world.git / "PackA"), world.commits["PackA"][1])}
    assert {name: package.version for name, package in lock.packages.items()} == {"alpha": "1.0", "beta-x": "2.0"}
    big = lock.models[BIG]
    assert (big.bytes, big.sources) == (3_000_000, ((world.comfyui / "models" / BIG).as_uri(),))
    assert lock.models.keys() == {BIG, "text_encoders/te.safetensors"}  # as ComfyUI calls what lies in clip


def test_what_is_provisioned_is_what_the_lock_says_and_a_second_run_changes_nothing(
    world: World, run: Run, lock_file: Path, made: Path
) -> None:
    assert "is what" in run("verify", "--lock", lock_file, "--dir", made)
    before = {path: path.lstat().st_mtime_ns for path in made.rglob("*") if ".git" not in path.parts}
    assert "nothing had to change" in run("provision", "--lock", lock_file, "--to", made)
    after = {path: path.lstat().st_mtime_ns for path in made.rglob("*") if ".git" not in path.parts}
    changed = {path.relative_to(made) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {Path(".comfyfleet/lock")}

    assert (made / "main.py").read_text() == "two\n"
    assert (made / "models" / BIG).read_bytes() == noise(BIG, 3_000_000)
    python = made / ".venv" / "bin" / "python"
    said = subprocess.run(
        [python, "-c", "import alpha; print(alpha.version)"], capture_output=True, text=True, check=True
    )
    assert said.stdout == "1.0\n"


def test_the_lock_of_what_was_provisioned_is_the_same(run: Run, lock_file: Path, made: Path) -> None:
    again = lock_file.with_name("again.lock.yaml")
    run("lock", "--from", made, "-o", again)
    assert load(again).digest == load(lock_file).digest


# --- drift ---


def one_changed_byte(world: World, made: Path) -> str:
    file = (made / "models" / BIG).resolve()
    file.chmod(0o644)
    with file.open("r+b") as content:
        content.seek(1000)
        content.write(b"\x00" if noise(BIG, 1001)[1000] else b"\x01")
    return f"model {BIG} has sha256 "


def missing_model(world: World, made: Path) -> str:
    (made / "models" / BIG).unlink()
    return f"model {BIG} is missing, the lock says sha256 "


def another_commit(world: World, made: Path) -> str:
    old, new = world.commits["PackA"]
    pack = made / "custom_nodes" / "PackA"
    pinned.git(pack, "fetch", "--quiet", "--depth=2", str(world.git / "PackA"), new)
    pinned.git(pack, "checkout", "--quiet", old)
    return f"node pack PackA is at commit {old[:12]}, the lock says {new[:12]}"


def another_package_version(world: World, made: Path) -> str:
    pinned.pip(made / ".venv" / "bin" / "python", "install", "alpha==2.0")
    return "package alpha is 2.0, the lock says 1.0"


def extra_package(world: World, made: Path) -> str:
    make_wheel(world.wheels, "gamma", "3.0")
    pinned.pip(made / ".venv" / "bin" / "python", "install", "gamma")
    return "package gamma 3.0 is not in the lock: uninstall it"


@pytest.mark.parametrize(
    "drift", [one_changed_byte, missing_model, another_commit, another_package_version, extra_package]
)
def test_drift_is_named_and_put_right(
    world: World, run: Run, lock_file: Path, made: Path, drift: Callable[[World, Path], str]
) -> None:
    words = drift(world, made)
    said = run("verify", "--lock", lock_file, "--dir", made, code=1)
    assert said.startswith(words)
    assert len(said.splitlines()) == 1
    assert "1 changes" in run("provision", "--lock", lock_file, "--to", made)
    assert "is what" in run("verify", "--lock", lock_file, "--dir", made)


def test_differences_are_json_for_programs(run: Run, lock_file: Path, made: Path) -> None:
    other = edited(lock_file, "json", ("version: '1.0'", "version: '9.9'"))
    answer = json.loads(run("verify", "--lock", other, "--dir", made, "--json", code=1))
    assert answer["lock"] == load(other).digest
    assert answer["differences"] == [
        {
            "subject": "package alpha",
            "locked": "9.9",
            "found": "1.0",
            "message": "package alpha is 1.0, the lock says 9.9",
        }
    ]


def test_files_edited_by_hand_are_named_and_left_alone(run: Run, lock_file: Path, made: Path) -> None:
    (made / "main.py").write_text("mine\n")
    try:
        assert "ComfyUI has files that differ" in run("verify", "--lock", lock_file, "--dir", made, code=1)
        said = run("provision", "--lock", lock_file, "--to", made, code=2)
        assert "files that differ from its commit: main.py" in said
        assert (made / "main.py").read_text() == "mine\n"
    finally:
        (made / "main.py").write_text("two\n")


def test_an_extra_node_pack_is_a_difference_that_only_a_person_removes(run: Run, lock_file: Path, made: Path) -> None:
    extra = made / "custom_nodes" / "extra.py"
    extra.write_text("x = 1\n")
    try:
        said = run("provision", "--lock", lock_file, "--to", made, code=1)
        assert "node pack extra.py is not in the lock: remove it" in said
        assert extra.exists()
    finally:
        extra.unlink()


def test_the_fleets_own_node_pack_is_no_part_of_a_lock(run: Run, lock_file: Path, made: Path) -> None:
    own = made / "custom_nodes" / "comfyfleet"
    own.symlink_to(Path(__file__).parents[2] / "comfy_nodes")
    try:
        assert "is what" in run("verify", "--lock", lock_file, "--dir", made)
    finally:
        own.unlink()


def test_what_a_newer_lock_no_longer_names_is_removed(world: World, run: Run, bare_lock: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shrinking"
    run("provision", "--lock", bare_lock, "--to", folder)
    newer = yaml.safe_load(bare_lock.read_text())
    newer["node_packs"] = {}
    del newer["models"][BIG]
    newer["comfyui"]["commit"] = world.commits["ComfyUI"][0]
    smaller = bare_lock.with_name("smaller.lock.yaml")
    smaller.write_text(yaml.safe_dump(newer))

    said = run("provision", "--lock", smaller, "--to", folder)
    assert "node pack PackA is removed" in said
    assert f"model {BIG} is unlinked" in said
    assert (folder / "main.py").read_text() == "one\n"
    assert not (folder / "custom_nodes" / "PackA").exists()
    assert state.read(folder).lock == load(smaller).digest


# --- interruption ---

KILLED = """
import os, signal, sys
from pathlib import Path
from orchestrator.pins import document
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.provision import Places, provision
from orchestrator.pins.store import ModelStore

class Killer:
    def __init__(self, calls): self.calls = calls
    def told(self, *_):
        self.calls -= 1
        if not self.calls:
            os.kill(os.getpid(), signal.SIGKILL)
    step = done = progress = told

calls, file, folder, root = int(sys.argv[1]), *map(Path, sys.argv[2:])
hashes = Hashes(root / "hashes.json")
lock = document.parse(file.read_text(), str(file))
provision(lock, Places(folder, file.parent, {}), ModelStore(root, hashes), hashes, Killer(calls))
"""


def test_killed_at_any_point_it_goes_on_from_there(run: Run, lock_file: Path, tmp_path: Path) -> None:
    folder, root = tmp_path / "killed", tmp_path / "store"
    kills = 0
    while True:  # a different point each time, as what is done already is not told again
        command = [sys.executable, "-c", KILLED, str(kills + 1), str(lock_file), str(folder), str(root)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != -signal.SIGKILL:
            break
        kills += 1
    assert done.returncode == 0, done.stderr
    assert kills >= 5
    assert "is what" in run("verify", "--lock", lock_file, "--dir", folder)
    assert state.read(folder).lock == load(lock_file).digest


def test_an_environment_whose_making_was_interrupted_is_made_anew(run: Run, lock_file: Path, made: Path) -> None:
    (made / ".venv" / "comfyfleet.json").unlink()
    [module] = (made / ".venv").glob("lib/*/site-packages/alpha.py")
    module.write_text("half of")
    assert "1 changes" in run("provision", "--lock", lock_file, "--to", made)
    assert module.read_text() == "version = '1.0'\n"


def test_a_checkout_that_was_interrupted_is_finished(world: World, tmp_path: Path) -> None:
    pin = Checkout(str(world.git / "PackA"), world.commits["PackA"][1])
    folder = tmp_path / "pack"
    assert git.check_out(folder, pin, pin.repo, ())
    (folder / "__init__.py").write_text("half of")
    (folder / ".git" / "index.lock").touch()
    (folder / ".git" / "comfyfleet-unfinished").touch()
    assert git.check_out(folder, pin, pin.repo, ())
    assert not git.check_out(folder, pin, pin.repo, ())
    assert (folder / "__init__.py").read_text() == "two\n"


def test_two_do_not_provision_one_folder(run: Run, lock_file: Path, made: Path) -> None:
    with held(made / ".comfyfleet" / "lock"):
        said = run("provision", "--lock", lock_file, "--to", made, code=2)
    assert f"is being provisioned by process {os.getpid()}" in said


def test_a_child_that_inherits_a_lock_holds_on_to_it(tmp_path: Path) -> None:
    with held(tmp_path / "lock") as descriptor:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    with pytest.raises(Exception, match="process"), held(tmp_path / "lock"):
        pass
    assert child.stdin
    child.stdin.close()
    child.wait()
    with held(tmp_path / "lock"):
        pass


# --- where code comes from ---


def test_mirrors_take_the_place_of_what_the_lock_names(world: World, run: Run, bare_lock: Path, tmp_path: Path) -> None:
    away = edited(
        bare_lock,
        "away",
        (f"repo: {world.git}", "repo: https://git.example"),
        (f"file://{world.comfyui}/models/", "s3://no-such-bucket/"),
    )
    config = tmp_path / "fleet.yaml"
    config.write_text(json.dumps({"mirrors": {"https://git.example/": f"file://{world.git}/", "s3://": "/nowhere/"}}))
    folder, root = tmp_path / "mirrored", tmp_path / "store"
    run(
        "provision", "--lock", away, "--to", folder, "--config", config, "--store", root,
        "--mirror", f"s3://no-such-bucket/={world.comfyui}/models/",
    )  # fmt: skip
    assert pinned.git(folder, "config", "remote.origin.url") == "https://git.example/ComfyUI"
    assert (folder / "models" / BIG).resolve().is_relative_to(root)


def test_a_remote_that_gives_no_single_commits_gives_its_branches(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.version")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "0")  # the old protocol gives only what is at the tip of a branch
    pin = Checkout(str(world.git / "PackA"), world.commits["PackA"][0])
    assert git.check_out(tmp_path / "pack", pin, pin.repo, ())
    assert (tmp_path / "pack" / "__init__.py").read_text() == "one\n"


def test_submodules_and_hooks_stay_off(world: World, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    (repo / "template").mkdir(parents=True)
    pinned.make_repo(tmp_path / "inner", {"x.py": "x"})
    pinned.make_repo(repo / "outer", {"y.py": "y"})
    pinned.git(
        repo / "outer", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "inner"), "in"
    )
    pinned.git(repo / "outer", "commit", "--quiet", "--message", "a submodule")
    pin = Checkout(str(repo / "outer"), pinned.git(repo / "outer", "rev-parse", "HEAD"))
    folder = tmp_path / "pack"
    folder.mkdir()
    pinned.git(folder, "init", "--quiet")
    hook = folder / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    assert git.check_out(folder, pin, pin.repo, ())
    assert (folder / "y.py").exists()
    assert list((folder / "in").iterdir()) == []
    assert not (tmp_path / "hooked").exists()


# --- refusals ---


def change_commit(world: World) -> tuple[str, str]:
    return world.commits["PackA"][1], "f" * 40


def change_repo(world: World) -> tuple[str, str]:
    return str(world.git / "PackA"), str(world.git / "Nowhere")


def change_python(world: World) -> tuple[str, str]:
    return f"version: {sys.version.split()[0]}", "version: 3.9.99"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_commit, f"PackA has no commit {'f' * 40} on any branch or tag: push it there, or correct the lock"),
        (change_repo, "Nowhere"),
        (change_python, "the lock says Python 3.9.99, and"),
    ],
)
def test_what_cannot_be_had_is_named(
    world: World, run: Run, bare_lock: Path, tmp_path: Path, change: Callable[[World], tuple[str, str]], words: str
) -> None:
    other = edited(bare_lock, "refused", change(world))
    said = run("provision", "--lock", other, "--to", tmp_path / "x", code=1 if change == change_repo else 2)
    assert words in said


def test_a_package_of_another_hash_is_not_installed(world: World, run: Run, lock_file: Path, made: Path) -> None:
    [digest] = load(lock_file).packages["alpha"].sha256
    other = edited(lock_file, "hash", (digest, "0" * 64))
    said = run("provision", "--lock", other, "--to", made, code=1)
    assert "alpha" in said
    assert f"Expected sha256 {'0' * 64}" in said
    assert f"Got {digest}" in said
    assert "1 changes" in run("provision", "--lock", lock_file, "--to", made)


def test_folders_of_others_are_left_alone(world: World, run: Run, lock_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    said = run("provision", "--lock", lock_file, "--to", tmp_path, code=2)
    assert "holds what provision did not make" in said
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("place", "words"), [("custom_nodes/PackA", "is a link to"), ("models/checkpoints", "leads out of")]
)
def test_links_in_the_folder_lead_nowhere(run: Run, bare_lock: Path, tmp_path: Path, place: str, words: str) -> None:
    folder, outside = tmp_path / "linked", tmp_path / "outside"
    run("provision", "--lock", bare_lock, "--to", folder)
    outside.mkdir()
    shutil.rmtree(folder / place)
    (folder / place).symlink_to(outside)
    assert words in run("provision", "--lock", bare_lock, "--to", folder, code=2)
    assert list(outside.iterdir()) == []


def test_links_in_a_repository_lead_nowhere(world: World, run: Run, bare_lock: Path, tmp_path: Path) -> None:
    outside, repo = tmp_path / "outside", tmp_path / "repo"
    outside.mkdir()
    pinned.make_repo(repo, {"main.py": "x"})
    (repo / "custom_nodes").symlink_to(outside)
    pinned.git(repo, "add", "--all")
    pinned.git(repo, "commit", "--quiet", "--message", "a link")
    head = pinned.git(repo, "rev-parse", "HEAD")
    other = edited(bare_lock, "links", (world.commits["ComfyUI"][1], head), (str(world.git / "ComfyUI"), str(repo)))
    assert "leads out of" in run("provision", "--lock", other, "--to", tmp_path / "x", code=2)
    assert list(outside.iterdir()) == []


def test_a_file_in_the_place_of_a_model_is_not_overwritten(run: Run, lock_file: Path, made: Path) -> None:
    place = made / "models" / BIG
    target = place.readlink()
    place.unlink()
    place.write_bytes(b"mine")
    said = run("provision", "--lock", lock_file, "--to", made, code=2)
    assert f"{place} is another file than the lock says: move it away" in said
    assert place.read_bytes() == b"mine"
    place.unlink()
    place.symlink_to(target)


def test_all_that_cannot_be_pinned_is_named_at_once(world: World, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "messy"
    shutil.copytree(world.comfyui, folder, symlinks=True)
    (folder / "main.py").write_text("edited")
    (folder / "custom_nodes" / "loose").mkdir()
    (folder / "models" / "checkpoints" / "old.ckpt").write_bytes(b"x")
    [alpha] = (folder / ".venv").glob("lib/*/site-packages/alpha-1.0.dist-info")
    (alpha / "direct_url.json").write_text('{"url": "file:///src/alpha", "dir_info": {"editable": true}}')
    said = run("lock", "--from", folder, "-o", tmp_path / "x.yaml", code=1)
    assert "ComfyUI has files that differ from its commit: main.py" in said
    assert "node pack loose has no known commit (it is no git checkout)" in said
    assert "checkpoints/old.ckpt is a .ckpt file, which can run code" in said
    assert "package alpha was installed from file:///src/alpha, which nobody else can get" in said
    assert "x.yaml was not written: 4 things" in said
    assert not (tmp_path / "x.yaml").exists()


def test_packages_that_no_index_has_are_named(world: World, run: Run, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "comfyui"
    shutil.copytree(world.comfyui, folder, symlinks=True)
    other = tmp_path / "wheels"
    beta = make_wheel(other, "beta_x", "2.0")
    beta.write_bytes(beta.read_bytes() + b"\x00")  # another archive of the same version
    monkeypatch.setenv("PIP_FIND_LINKS", str(other))
    said = run("lock", "--from", folder, "-o", tmp_path / "x.yaml", code=1)
    assert "package alpha: pip finds no alpha==1.0 for this Python" in said
    assert "package beta-x: it was installed from file://" in said
    assert "and pip finds another archive of beta-x==2.0" in said


def test_an_installation_without_an_environment_asks_for_its_python(world: World, run: Run, tmp_path: Path) -> None:
    shutil.copytree(world.comfyui, tmp_path / "c", ignore=shutil.ignore_patterns(".venv"))
    said = run("lock", "--from", tmp_path / "c", "-o", tmp_path / "x.yaml", code=1)
    assert "name the interpreter with --python" in said
    run("lock", "--from", tmp_path / "c", "--python", world.comfyui / ".venv/bin/python", "-o", tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("lock", "-o", "x.yaml"), "say what to lock"),
        (("lock", "--from", "nowhere", "-o", "x.yaml"), "nowhere is no folder"),
        (("lock", "--from", "http://127.0.0.1:9", "-o", "x.yaml"), "http://127.0.0.1:9/fleet/inventory"),
        (("lock", "--snapshot", "nowhere.json", "-o", "x.yaml"), "cannot read nowhere.json"),
        (("verify", "--lock", "nowhere.yaml", "--dir", "."), "cannot read nowhere.yaml"),
        (("verify", "--lock", "x"), "either --dir DIR or --url URL"),
        (("gc", "--keep", "lots"), "say a size such as 500GB"),
    ],
)
def test_commands_say_what_to_change(run: Run, command: tuple[str, ...], words: str) -> None:
    said = run(*command, code=1 if "9" in command[2] else 2)
    assert words in said
    assert len(said.splitlines()) == 1


# --- snapshots and running ComfyUIs ---


def test_a_snapshot_is_completed_from_the_folder(world: World, run: Run, lock_file: Path, tmp_path: Path) -> None:
    snapshot = {
        "comfyui": world.commits["ComfyUI"][0],
        "git_custom_nodes": {f"file://{world.git}/PackA": {"hash": world.commits["PackA"][0], "disabled": False}},
        "cnr_custom_nodes": {},
        "file_custom_nodes": [{"filename": "websocket_image_save.py", "disabled": False}],
        "pips": {"alpha==2.0": ""},
    }
    (tmp_path / "s.json").write_text(json.dumps(snapshot))
    run("lock", "--snapshot", tmp_path / "s.json", "--from", world.comfyui, "-o", tmp_path / "x.yaml")
    lock = load(tmp_path / "x.yaml")
    assert lock.comfyui.commit == world.commits["ComfyUI"][0]
    assert lock.node_packs["PackA"] == Checkout(f"file://{world.git}/PackA", world.commits["PackA"][0])
    assert {name: package.version for name, package in lock.packages.items()} == {"alpha": "2.0"}
    assert lock.models == load(lock_file).models

    said = run("lock", "--snapshot", tmp_path / "s.json", "--python", sys.executable, "-o", tmp_path / "y.yaml")
    assert "no models are locked, as they are unknown: a snapshot does not know it" in said
    assert load(tmp_path / "y.yaml").comfyui.repo == "https://github.com/Comfy-Org/ComfyUI"


@pytest.fixture
def running(world: World, lock_file: Path) -> Iterator[tuple[str, dict]]:
    """A server that answers as the node pack does, with one digest late; and its document, to be changed."""
    lock = load(lock_file)
    report = {
        "schema": 1,
        "comfyui": {"commit": lock.comfyui.commit, "remote": lock.comfyui.repo, "dirty": False},
        "node_packs": [
            {"name": name, "imported": True, "commit": pack.commit, "remote": pack.repo, "dirty": False}
            for name, pack in lock.node_packs.items()
        ],
        "python": lock.python,
        "packages": {name: package.version for name, package in lock.packages.items()},
        "models": [
            {"folder": "checkpoints", "name": BIG.partition("/")[2], "bytes": 3_000_000, "sha256": None},
            {
                "folder": "text_encoders",
                "name": "te.safetensors",
                "bytes": 1000,
                "sha256": lock.models["text_encoders/te.safetensors"].sha256,
            },
        ],
        "unavailable": {},
    }
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(report).encode()
            self.send_response(200 if self.path.startswith("/fleet/inventory?") else 404)
            self.end_headers()
            self.wfile.write(body)
            report["models"][0]["sha256"] = lock.models[BIG].sha256

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", report
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_running_comfyui_is_held_against_its_lock(
    running: tuple[str, dict], world: World, run: Run, lock_file: Path, tmp_path: Path
) -> None:
    url, report = running
    said = run("verify", "--lock", lock_file, "--url", url)
    assert "1 models are still being read" in said
    assert "is what" in said

    python = world.comfyui / ".venv/bin/python"
    said = run("lock", "--from", url, "--python", python, "-o", tmp_path / "url.yaml")
    assert "write where they can be fetched from into `sources`" in said
    assert load(tmp_path / "url.yaml").digest == load(lock_file).digest

    report["packages"]["alpha"] = "1.1"
    report["node_packs"][0] |= {"imported": False, "error": "boom"}
    assert run("verify", "--lock", lock_file, "--url", url, code=1).splitlines() == [
        "node pack PackA was not imported by ComfyUI: boom",
        "package alpha is 1.1, the lock says 1.0",
    ]
    assert "put comfyfleet's node pack" in run("verify", "--lock", lock_file, "--url", f"{url}/x", code=2)


def test_names_are_those_that_comfyui_finds_first(world: World, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("unet/x.gguf", "diffusion_models/x.gguf", "clip/y.gguf", "text_encoders/y.gguf", "vae/.z", ".c/x"):
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_text(name)
    seen = observe(tmp_path, None, Hashes(tmp_path / "hashes.json"))
    assert seen.models is not None
    found = {name: model.source for name, model in seen.models.items()}
    assert found == {
        "diffusion_models/x.gguf": (models / "unet/x.gguf").as_uri(),
        "text_encoders/y.gguf": (models / "text_encoders/y.gguf").as_uri(),
    }
    some = observe(tmp_path, None, Hashes(tmp_path / "hashes.json"), wanted=[*found, "vae/none.gguf"])
    assert some.models == seen.models


def test_git_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "mine.py").touch()
    with pytest.raises(Conflict, match="is no git checkout: move it away"):
        git.check_out(tmp_path / "pack", Checkout("/nowhere", "a" * 40), "/nowhere", ())
