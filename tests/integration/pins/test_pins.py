"""Lock, provision, verify: real git, real pip, real environments, on a world that fits into a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestrator.pins import git, state
from orchestrator.pins.exclusive import held
from orchestrator.pins.lock import Checkout
from tests.fixtures import pinned
from tests.fixtures.pinned import BIG, Run, World, edited, load, make_wheel, noise

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
    assert "changed 1 of its parts" in run("provision", "--lock", lock_file, "--to", made)
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
lock = document.parse(file.read_text(), str(file))
provision(lock, Places(folder, file.parent, {}), ModelStore(root, Hashes(root / "hashes.json")), Killer(calls))
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
    assert "changed 1 of its parts" in run("provision", "--lock", lock_file, "--to", made)
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


def test_models_may_be_left_for_later(run: Run, bare_lock: Path, tmp_path: Path) -> None:
    folder = tmp_path / "comfyui"
    said = run("provision", "--lock", bare_lock, "--to", folder, "--without-models")
    assert "2 of its models are left to its agent" in said
    assert not (folder / "models" / BIG).exists()
    assert f"model {BIG} is missing" in run("verify", "--lock", bare_lock, "--dir", folder, code=1)
    assert "changed 2 of its parts" in run("provision", "--lock", bare_lock, "--to", folder)
    run("verify", "--lock", bare_lock, "--dir", folder)


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
