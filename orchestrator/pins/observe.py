"""Looking at an installed ComfyUI: its commit, its node packs, its Python, its models."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, cast

from orchestrator.errors import FleetError, InvalidRequest, NotFound
from orchestrator.pins import git, interpreter
from orchestrator.pins.environment import FOLDER as ENVIRONMENT
from orchestrator.pins.environment import python_of
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.interpreter import Environment
from orchestrator.pins.observed import FOLDERS, OWN_PACK, Observed, SeenCheckout, SeenModel, SeenPack

Reading = Callable[[str], None]
"""Told the name of a model whose digest is asked for, which may mean to read it all."""


def observe(
    folder: Path,
    python: Path | None,
    hashes: Hashes,
    wanted: Collection[str] | None = None,
    reading: Reading | None = None,
) -> Observed:
    """What lies in a ComfyUI's folder; of its models those `wanted` (None: all). `python`: the interpreter that it runs
    with; its own environment, when None. Raises NotFound("no_comfyui"), InvalidRequest("git_missing")."""
    if not folder.is_dir():
        raise NotFound("no_comfyui", f"{folder} is no folder: name one that ComfyUI is installed in")
    gaps: dict[str, str] = {}
    comfyui = _checkout(folder, "comfyui", gaps)
    installed = _installed(python or environment_python(folder), folder, gaps)
    packs = {path.name: _checkout(path, f"node_pack {path.name}", gaps) for path in _packs(folder)}
    found = dict(_models(folder) if wanted is None else _some_models(folder, wanted))
    return Observed(
        comfyui=comfyui or SeenCheckout(None),
        node_packs={name: SeenPack(seen or SeenCheckout(None)) for name, seen in packs.items()},
        python=installed and installed.python,
        packages=installed and installed.packages,
        models={name: _model(name, path, hashes, gaps, reading) for name, path in found.items()},
        gaps=gaps,
    )


def known_models(folder: Path, hashes: Hashes) -> dict[str, SeenModel]:
    """The models in a ComfyUI's folder. Reads none: digests are those that are known already."""
    found: dict[str, SeenModel] = {}
    for name, path in _models(folder):
        real = path.resolve()
        status = real.stat()
        found[name] = SeenModel(hashes.known(real, status), status.st_size)
    return found


def environment_python(folder: Path) -> Path | None:
    """The interpreter of the environment in a ComfyUI's folder, if it has one."""
    return next((path for name in (ENVIRONMENT, "venv") if (path := python_of(folder / name)).exists()), None)


def _checkout(folder: Path, what: str, gaps: dict[str, str]) -> SeenCheckout | None:
    try:
        seen = git.look(folder)
    except git.GitError as error:
        gaps[what] = f"git cannot read it: {error}"
        return None
    if seen is None or seen.commit is None:
        gaps[what] = "it is no git checkout" if seen is None else "its HEAD is no commit"
    return seen


def _tracked(folder: Path, below: str) -> frozenset[str]:
    """What ComfyUI's own repository has there: nothing, if it has none that can be read, which is a gap already."""
    try:
        return git.tracked(folder, below) if (folder / ".git").exists() else frozenset()
    except git.GitError:
        return frozenset()


def _installed(python: Path | None, folder: Path, gaps: dict[str, str]) -> Environment | None:
    if python is None:
        gaps["python"] = gaps["packages"] = f"there is no environment at {folder / ENVIRONMENT}"
        return None
    try:
        return interpreter.look(python)
    except InvalidRequest as error:
        gaps["python"] = gaps["packages"] = error.message
        return None


def _packs(folder: Path) -> list[Path]:
    """What ComfyUI imports from custom_nodes, but for what its own repository holds there, and the fleet's own."""
    shipped = _tracked(folder, "custom_nodes")
    return [
        path
        for path in sorted((folder / "custom_nodes").glob("*"))
        if path.name != "__pycache__"
        and not path.name.endswith(".disabled")
        and (path.is_dir() or path.suffix == ".py")
        and f"custom_nodes/{path.name}" not in shipped
        and not _is_ours(path)
    ]


def _is_ours(pack: Path) -> bool:
    try:
        declaration = tomllib.loads((pack / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    project = declaration.get("project")
    return isinstance(project, dict) and cast("dict[str, Any]", project).get("name") == OWN_PACK


def _models(folder: Path) -> Iterator[tuple[str, Path]]:
    """All files below models that are not part of ComfyUI's repository, each under the name that ComfyUI has for it."""
    root = folder / "models"
    ours = _tracked(folder, "models")
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(parent).relative_to(root)
        for name in sorted(names):
            path = Path(parent, name)
            if below.parts and not name.startswith(".") and f"models/{below / name}" not in ours and path.is_file():
                found[str(below / name)] = path
    for name in found:
        known, _, rest = name.partition("/")
        whole = next((key for key, places in FOLDERS.items() if known in places), known)
        first = next(place for place in FOLDERS.get(whole, (known,)) if f"{place}/{rest}" in found)
        if first == known:
            yield f"{whole}/{rest}", found[name]


def _some_models(folder: Path, wanted: Collection[str]) -> Iterator[tuple[str, Path]]:
    for name in wanted:
        whole, _, rest = name.partition("/")
        paths = (folder / "models" / place / rest for place in FOLDERS.get(whole, (whole,)))
        if path := next((path for path in paths if path.is_file()), None):
            yield name, path


def _model(name: str, path: Path, hashes: Hashes, gaps: dict[str, str], reading: Reading | None) -> SeenModel:
    size, digest = path.stat().st_size, None
    if reading:
        reading(name)
    try:
        digest = hashes.sha256(path)
    except OSError as error:
        gaps[f"model {name}"] = str(error)
    except FleetError as error:
        gaps[f"model {name}"] = error.message
    return SeenModel(digest, size, path.absolute().as_uri())
