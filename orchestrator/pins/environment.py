"""The virtual environment of a provisioned ComfyUI.

A stamp in it says which archives it was made of, and is there only while that is true: an environment without one was
interrupted, and is made anew. With one, what is installed is looked at, and what differs is put right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from orchestrator.errors import Busy, InvalidRequest
from orchestrator.pins import interpreter
from orchestrator.pins.exclusive import write_atomically
from orchestrator.pins.interpreter import Environment
from orchestrator.pins.lock import Lock, Package, allows_python
from orchestrator.pins.observed import SeenPackage

FOLDER = ".venv"
"""Where it lies in a ComfyUI's folder."""

_STAMP = "comfyfleet.json"


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def provide(folder: Path, lock: Lock, base: Path | None, hold: Sequence[int]) -> bool:
    """Has the folder be an environment of the lock; False when it is already. `base`: the interpreter to make it with.

    Raises what interpreter.find, make and install raise.
    """
    stamp = folder / _STAMP
    made_of = _read(stamp)
    seen = None if made_of is None else _look(folder)
    if seen is None or not allows_python(lock.python, seen.python):
        found = interpreter.find(lock.python, base)
        stamp.unlink(missing_ok=True)
        interpreter.make(folder, found, hold)
        made_of, seen = {}, interpreter.look(python_of(folder))
    wrong = {
        name: package
        for name, package in lock.packages.items()
        if (made_of or {}).get(name) != _archives(package) or not _is(package, seen.packages.get(name))
    }
    extra = seen.packages.keys() - lock.packages.keys()
    if not wrong and not extra and stamp.exists():
        return False
    stamp.unlink(missing_ok=True)
    if wrong:
        interpreter.install(python_of(folder), wrong, hold)
    if extra:
        interpreter.uninstall(python_of(folder), extra, hold)
    _check(folder, lock.packages)
    write_atomically(stamp, orjson.dumps({name: _archives(package) for name, package in lock.packages.items()}))
    return True


def _check(folder: Path, packages: Mapping[str, Package]) -> None:
    installed = interpreter.look(python_of(folder)).packages
    wrong = [name for name, package in packages.items() if not _is(package, installed.get(name))]
    if wrong or len(installed) != len(packages):
        wrong += sorted(installed.keys() - packages.keys())
        raise Busy("packages_not_installed", f"pip left {', '.join(wrong[:5])} otherwise than the lock says", 30.0)


def _look(folder: Path) -> Environment | None:
    try:
        return interpreter.look(python_of(folder))
    except InvalidRequest:  # the interpreter that it was made with is gone
        return None


def _is(package: Package, seen: SeenPackage | None) -> bool:
    return (
        seen is not None and seen.version == package.version and (seen.origin is None or seen.sha256 in package.sha256)
    )


def _archives(package: Package) -> list[str]:
    return [package.version, *package.sha256]


def _read(stamp: Path) -> dict[str, list[str]] | None:
    try:
        document: Any = orjson.loads(stamp.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
