"""What cannot be pinned or provisioned is named with what to do, and nothing of anybody else's is touched."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import Conflict
from orchestrator.pins import git
from orchestrator.pins.lock import Checkout
from tests.fixtures import pinned
from tests.fixtures.pinned import BIG, Run, World, edited, load, make_wheel


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
    assert "changed 1 of its parts" in run("provision", "--lock", lock_file, "--to", made)


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


def test_git_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "mine.py").touch()
    with pytest.raises(Conflict, match="is no git checkout: move it away"):
        git.check_out(tmp_path / "pack", Checkout("/nowhere", "a" * 40), "/nowhere", ())
