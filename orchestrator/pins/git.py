"""Git: what a checkout is at, and a checkout at a commit.

What git fetches it checks against the commit's id, so neither a mirror nor a proxy can give other files. Hooks,
submodules and prompts are off: a repository is fetched, nothing of it runs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import Busy, Conflict, InvalidRequest
from orchestrator.pins.lock import Checkout
from orchestrator.pins.observed import SeenCheckout
from orchestrator.pins.sources import without_credentials

RETRY_S = 30.0
_OPTIONS = (
    "safe.directory=*", "core.hooksPath=/dev/null", "core.fsmonitor=false", "submodule.recurse=false",
    "gc.auto=0", "maintenance.auto=false", "advice.detachedHead=false",
    "http.lowSpeedLimit=1000", "http.lowSpeedTime=60",  # a remote that stalls for a minute is given up
    "fetch.unpackLimit=1",  # what is fetched appears in one pack or not at all, whenever we are killed
)  # fmt: skip
_OF_ANOTHER_REPOSITORY = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX",
)  # fmt: skip
_SHOWN = 4
"""Edited files that a message names."""
_BRANCHES = "+refs/heads/*:refs/remotes/origin/*"
_UNFINISHED = "comfyfleet-unfinished"
_LOCKS = ("index.lock", "HEAD.lock", "config.lock", "shallow.lock", "packed-refs.lock")


class GitError(Exception):
    """Git refused; the message is its own."""


def look(folder: Path) -> SeenCheckout | None:
    """The checkout whose top is this folder; None when it is none. Raises InvalidRequest("git_missing"), and GitError
    for one that is damaged."""
    if not (folder / ".git").exists():
        return None
    commit = _head(folder)
    return SeenCheckout(commit, _origin(folder), _few(_edited(folder)) if commit else None)


def tracked(folder: Path, below: str) -> frozenset[str]:
    """The files that git tracks below a folder of a checkout, relative to the checkout. Raises what look raises."""
    return frozenset(filter(None, _git(folder, "ls-files", "-z", "--", below).split("\0")))


def check_out(folder: Path, pin: Checkout, address: str, hold: Sequence[int]) -> bool:
    """Has the folder be a checkout of the commit, fetched from `address`; False when it is already.

    Files edited by hand are not touched: Conflict("edited"). Interrupted, it ends in the next call. `hold` are file
    descriptors that git inherits, so that a lock outlives us with it. Other errors: Conflict("not_a_checkout"),
    InvalidRequest("commit_not_found"), Busy("checkout_failed").
    """
    unfinished = folder / ".git" / _UNFINISHED
    resumed = unfinished.exists()
    head = _head(folder) if (folder / ".git").exists() else None
    if head and not resumed:
        try:
            edited = _edited(folder)
        except GitError as error:
            message = f"git cannot read {folder} ({error}): move it away, then run this again"
            raise Conflict("not_a_checkout", message) from None
        if edited:
            raise Conflict(
                "edited",
                f"{folder} has files that differ from its commit: {_few(edited)}. Keep what you need elsewhere, undo "
                f"the rest with git -C {folder} checkout -f, then run this again",
            )
        if head == pin.commit:
            return False
    if not (folder / ".git").exists() and folder.is_dir() and any(folder.glob("[!.]*")):
        raise Conflict("not_a_checkout", f"{folder} is no git checkout: move it away, then run this again")
    try:
        _make(folder, pin, address, hold)
    except GitError as error:
        raise Busy(
            "checkout_failed",
            f"git could not check {pin.commit} of {address} out into {folder} ({error}): check the address, the "
            f"network and your rights there, or name a mirror",
            RETRY_S,
        ) from None
    unfinished.unlink()
    return True


def _make(folder: Path, pin: Checkout, address: str, hold: Sequence[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _git(folder, "init", "--quiet", hold=hold)
    (folder / ".git" / _UNFINISHED).touch()
    for lock in _LOCKS:  # of a git that was killed: nobody else works here while we do
        (folder / ".git" / lock).unlink(missing_ok=True)
    _git(folder, "config", "remote.origin.url", pin.repo)
    _git(folder, "config", "remote.origin.fetch", _BRANCHES)
    if not _has(folder, pin.commit):
        _fetch(folder, pin.commit, address, hold)
    _git(folder, "checkout", "--quiet", "--force", "--detach", pin.commit, "--", hold=hold)
    if _head(folder) != pin.commit:
        raise GitError("its HEAD is another one after the checkout")
    if edited := _edited(folder):
        raise GitError(f"after the checkout these files differ from it: {_few(edited)}")


def _fetch(folder: Path, commit: str, address: str, hold: Sequence[int]) -> None:
    """That commit alone where the remote allows it, else all branches and tags."""
    fetch = ("fetch", "--quiet", "--no-tags")
    try:
        _git(folder, *fetch, "--depth=1", "--", address, commit, hold=hold)
    except GitError:
        _git(folder, *fetch, "--", address, _BRANCHES, "+refs/tags/*:refs/tags/*", hold=hold)
        if not _has(folder, commit):
            raise InvalidRequest(
                "commit_not_found",
                f"{address} has no commit {commit} on any branch or tag: push it there, or correct the lock",
            ) from None


def _has(folder: Path, commit: str) -> bool:
    try:
        _git(folder, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


def _head(folder: Path) -> str | None:
    try:
        return _git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
    except GitError:
        return None


def _origin(folder: Path) -> str | None:
    try:
        url = without_credentials(_git(folder, "config", "--get", "remote.origin.url").strip())
    except GitError:
        return None
    return str((folder / url).resolve()) if url.startswith(("./", "../")) else url


def _edited(folder: Path) -> list[str]:
    """Files that git tracks and that differ from the commit."""
    status = _git(folder, "status", "--porcelain", "-z", "--untracked-files=no", "--no-renames")
    return [entry[3:] for entry in status.split("\0") if entry]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _git(folder: Path, *args: str, hold: Sequence[int] = ()) -> str:
    """What git prints. Raises GitError with its last line, and InvalidRequest("git_missing")."""
    options = [part for option in _OPTIONS for part in ("-c", option)]
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:ssh:file", "GIT_OPTIONAL_LOCKS": "0"}
    # A node pack whose repository is damaged lies in another one, ComfyUI's, which is not meant.
    environment["GIT_CEILING_DIRECTORIES"] = str(folder.resolve().parent)
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *options, *args], env=environment | {"LC_ALL": "C"}, stdin=subprocess.DEVNULL,
            check=False, capture_output=True, encoding="utf-8", errors="surrogateescape", pass_fds=hold,
        )  # fmt: skip
    except FileNotFoundError:
        raise InvalidRequest("git_missing", "git is not installed: install it (Debian: apt-get install git)") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise GitError(
            next((line for line in reversed(lines) if line.startswith("fatal:")), lines[-1] if lines else "")
        )
    return done.stdout
