from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from comfy_nodes import checkout

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(directory: Path, *args: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(
        ["git", "-C", directory, *who, *args], capture_output=True, check=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    directory = tmp_path / "pack"
    directory.mkdir()
    git(directory, "init", "--quiet", "--initial-branch", "main")
    (directory / "nodes.py").write_text("x = 1\n")
    git(directory, "add", "nodes.py")
    git(directory, "commit", "--quiet", "--message", "first")
    return directory


def commit(directory: Path) -> str | None:
    found = checkout.git_directory(directory)
    assert found is not None
    return checkout.commit(found)


def origin(directory: Path) -> str | None:
    found = checkout.git_directory(directory)
    assert found is not None
    return checkout.origin(found)


def test_the_commit_of_a_branch_a_packed_branch_and_a_detached_head(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert commit(repository) == head
    git(repository, "pack-refs", "--all")
    assert commit(repository) == head
    git(repository, "checkout", "--quiet", "--detach")
    assert commit(repository) == head


def test_a_worktree_has_a_commit_of_its_own_and_the_remote_of_all(repository: Path, tmp_path: Path) -> None:
    git(repository, "remote", "add", "origin", "git@example.org:me/pack.git")
    git(repository, "branch", "other")
    (repository / "nodes.py").write_text("x = 2\n")
    git(repository, "commit", "--quiet", "--all", "--message", "second")
    worktree = tmp_path / "worktree"
    git(repository, "worktree", "add", "--quiet", str(worktree), "other")
    assert commit(worktree) == git(repository, "rev-parse", "other") != commit(repository)
    assert origin(worktree) == "git@example.org:me/pack.git"


def test_no_commit_yet_and_no_checkout(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet")
    assert commit(empty) is None
    assert origin(empty) is None
    within = empty / "folder"
    within.mkdir()
    assert checkout.git_directory(within) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@example.org/me/pack.git", "https://example.org/me/pack.git"),
        ("https://token@example.org:8443/me/pack", "https://example.org:8443/me/pack"),
        ("https://example.org/me/pack", "https://example.org/me/pack"),
        ("/mirrors/pack", "/mirrors/pack"),
    ],
)
def test_the_remote_is_shown_without_credentials(repository: Path, url: str, shown: str) -> None:
    git(repository, "remote", "add", "upstream", "https://example.org/upstream")
    git(repository, "remote", "add", "origin", url)
    assert origin(repository) == shown


def test_changed_files_make_it_dirty_and_new_ones_do_not(repository: Path) -> None:
    (repository / "__pycache__").mkdir()
    (repository / "__pycache__" / "nodes.pyc").write_bytes(b"")
    assert not checkout.is_dirty(repository)
    (repository / "nodes.py").write_text("x = 3\n")
    index = (repository / ".git" / "index").read_bytes()
    assert checkout.is_dirty(repository)
    assert (repository / ".git" / "index").read_bytes() == index
