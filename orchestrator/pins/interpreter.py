"""A Python and its packages: what is installed, which archives an index has of that, and an environment made of them.

pip is our own, run for the other interpreter: an environment holds what its lock names and nothing else, not even pip.
Where packages come from, pip's own configuration says (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orchestrator.errors import Busy, InvalidRequest
from orchestrator.pins.lock import Package, allows_python, normalised
from orchestrator.pins.observed import SeenPackage

RETRY_S = 30.0
MAX_UNRESOLVED = 10
"""Packages that pip has to be asked without before we stop and say so: more, and the index is what is wrong."""

_LOOK = """
import json, platform, sys
from importlib.metadata import distributions
found = [(d.metadata["Name"], d.version, d.read_text("direct_url.json")) for d in distributions()]
json.dump({"python": platform.python_version(), "packages": found}, sys.stdout)
"""
_UNRESOLVED = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)")
_SHOWN = 800
"""Characters of what pip says that fit a message."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What an interpreter says of itself. Packages by normalised name."""

    python: str
    packages: Mapping[str, SeenPackage]


@dataclass(frozen=True, slots=True)
class Resolved:
    """SHA-256 of the archive that pip would install of each package, or why there is none, in words."""

    hashes: Mapping[str, tuple[str, ...]]
    failures: Mapping[str, str]


def look(python: Path) -> Environment:
    """Asks the interpreter. Raises InvalidRequest("python_unusable")."""
    try:
        done = _run([str(python), "-I", "-c", _LOOK])
        answer: Any = orjson.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError) as error:
        raise InvalidRequest("python_unusable", f"{python} is no Python that answers: {error}") from None
    if answer is None:
        raise InvalidRequest("python_unusable", f"{python} is no Python that answers: {_words(done.stderr)}")
    packages: dict[str, SeenPackage] = {}
    for name, version, direct_url in answer["packages"]:
        if name:  # None: what a failed uninstallation left
            packages.setdefault(normalised(name), _seen(version, direct_url))
    return Environment(answer["python"], packages)


def find(pin: str, given: Path | None) -> Path:
    """An interpreter of the pinned version: the given one, ours, or one on PATH. InvalidRequest("python_missing")."""
    name = f"python{'.'.join(pin.split('.')[:2])}"
    on_path = shutil.which(name)
    candidates = [given] if given else [Path(sys.executable), *([Path(on_path)] if on_path else [])]
    seen: list[str] = []
    for python in candidates:
        try:
            version = look(python).python
        except InvalidRequest as error:
            seen.append(error.message)
            continue
        if allows_python(pin, version):
            return python
        seen.append(f"{python} is {version}")
    raise InvalidRequest(
        "python_missing",
        f"the lock says Python {pin}, and {', and '.join(seen)}: install {pin} and name it with --python, or shorten "
        f"python.version in the lock, as 3.11 allows every 3.11.x",
    )


def resolve(python: Path, packages: Mapping[str, SeenPackage]) -> Resolved:
    """Asks pip which archives it would install into this interpreter, and installs nothing.

    A package that was installed from one archive must be that archive. Raises Busy("packages_unresolved") when it is
    pip or the index that fails.
    """
    failures: dict[str, str] = {}
    asked = {name: f"{name}=={package.version}" for name, package in packages.items()}
    while True:
        try:
            hashes = _report(python, list(asked.values())) if asked else {}
            break
        except _PipError as error:
            named = _UNRESOLVED.search(str(error))
            name = normalised(named[1]) if named else None
            if name not in asked or len(failures) == MAX_UNRESOLVED:
                raise Busy("packages_unresolved", f"pip cannot find the packages: {error}", RETRY_S) from None
            failures[name] = f"pip finds no {asked.pop(name)} for this Python"
    for name in asked:
        package = packages[name]
        if not hashes.get(name):
            failures[name] = f"the index that pip found {asked[name]} in gives no sha256 for it"
        elif package.sha256 is not None and package.sha256 not in hashes[name]:
            failures[name] = f"it was installed from {package.origin}, and pip finds another archive of {asked[name]}"
    return Resolved({name: found for name, found in hashes.items() if name not in failures}, failures)


def make(folder: Path, base: Path, hold: Sequence[int]) -> None:
    """A new, empty environment of the interpreter `base`. Raises Busy("venv_failed")."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [str(base), "-I", "-m", "venv", "--without-pip", str(folder)]
    done = _run(command, hold)
    if done.returncode:
        raise Busy("venv_failed", f"{base} could not make {folder}: {_words(done.stdout + done.stderr)}", RETRY_S)


def install(python: Path, packages: Mapping[str, Package], hold: Sequence[int]) -> None:
    """Puts these in, each from an archive with one of its hashes. Raises Busy("packages_not_installed")."""
    lines = (
        " ".join([f"{name}=={package.version}", *(f"--hash=sha256:{digest}" for digest in package.sha256)])
        for name, package in packages.items()
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text("\n".join(lines))
        options = ("--require-hashes", "--no-deps", "--force-reinstall", "--no-warn-script-location")
        _change(python, ["install", *options, "--requirement", str(file)], hold)


def uninstall(python: Path, names: Collection[str], hold: Sequence[int]) -> None:
    """Takes these out. Raises Busy("packages_not_installed")."""
    _change(python, ["uninstall", "--yes", *names], hold)


class _PipError(Exception):
    """pip failed; the message is its own."""


def _change(python: Path, args: Sequence[str], hold: Sequence[int]) -> None:
    try:
        _pip(python, args, hold)
    except _PipError as error:
        raise Busy("packages_not_installed", f"pip could not {args[0]} the locked packages: {error}", RETRY_S) from None


def _report(python: Path, requirements: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The SHA-256 of what pip would install, by normalised name; no hash where the index gives none."""
    with tempfile.TemporaryDirectory() as folder:
        file, report = Path(folder, "requirements.txt"), Path(folder, "report.json")
        file.write_text("\n".join(requirements))
        # Nothing is installed, so an interpreter that the system's package manager owns is in no danger.
        options = ("--dry-run", "--ignore-installed", "--no-deps", "--break-system-packages")
        _pip(python, ["install", *options, "--report", str(report), "--requirement", str(file)])
        document: Any = orjson.loads(report.read_bytes())
    found: dict[str, tuple[str, ...]] = {}
    for entry in document["install"]:
        digest = entry["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        found[normalised(entry["metadata"]["name"])] = (digest,) if digest else ()
    return found


def _pip(python: Path, args: Sequence[str], hold: Sequence[int] = ()) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input", "-q"]
    done = _run([*command, *args], hold)
    if done.returncode:
        raise _PipError(_words(done.stderr or done.stdout))


def _run(command: Sequence[str], hold: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", pass_fds=hold
    )


def _seen(version: str, direct_url: str | None) -> SeenPackage:
    """`direct_url`: the file that pip leaves when a package did not come from an index (PEP 610)."""
    if not direct_url:
        return SeenPackage(version)
    origin: Any = orjson.loads(direct_url)
    archive = origin.get("archive_info", {})
    digest = archive.get("hashes", {}).get("sha256") or archive.get("hash", "").removeprefix("sha256=")
    return SeenPackage(version, origin["url"], digest or None)


def _words(output: str) -> str:
    """What went wrong, in one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("WARNING")]
    words = " ".join(lines)
    return words if len(words) <= _SHOWN else f"...{words[-_SHOWN:]}"
