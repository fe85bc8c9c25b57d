"""What a git checkout is at: commit, origin, and whether its files were changed.

Commit and origin are read from the repository's files, for containers often come without git; only `is_dirty` runs it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_STATUS_S = 20
"""Seconds that git may take to look at a working tree."""


def git_directory(directory: Path) -> Path | None:
    """Where the repository of a checkout lies; None if the directory is not the top of one."""
    entry = directory / ".git"
    if entry.is_dir():
        return entry
    if entry.is_file():  # a worktree or submodule: "gitdir: PATH"
        return directory / entry.read_text("utf-8").partition(":")[2].strip()
    return None


def commit(repository: Path) -> str | None:
    """The commit that is checked out, in full; None if there is none yet. `repository` is a git_directory."""
    head = (repository / "HEAD").read_text("utf-8").strip()
    if not head.startswith("ref:"):
        return head
    ref = head.partition(":")[2].strip()
    for folder in (repository, _shared(repository)):
        loose = folder / ref
        if loose.is_file():
            return loose.read_text("utf-8").strip()
    packed = _shared(repository) / "packed-refs"
    lines = packed.read_text("utf-8").splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {ref}")), None)


def origin(repository: Path) -> str | None:
    """The URL of the remote named origin, without a user name or password."""
    section = ""
    for line in (_shared(repository) / "config").read_text("utf-8").splitlines():
        key, _, value = line.strip().partition("=")
        if key.startswith("["):
            section = key
        elif section == '[remote "origin"]' and key.strip() == "url":
            return _without_credentials(value.strip())
    return None


def is_dirty(directory: Path) -> bool:
    """Whether files that git tracks differ from the commit. Writes nothing, not even git's index.

    Raises OSError without git, subprocess.SubprocessError with its reason in `stderr` if it fails.
    """
    command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(directory)]
    finished = subprocess.run(
        [*command, "status", "--porcelain", "--untracked-files=no"],
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_STATUS_S,
        check=True,
        text=True,
    )
    return bool(finished.stdout.strip())


def _shared(repository: Path) -> Path:
    """What all worktrees of a repository share lies in the main one's."""
    common = repository / "commondir"
    return repository / common.read_text("utf-8").strip() if common.is_file() else repository


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return url  # git@host:path names a login that everybody shares
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
