"""The answer of GET /fleet/inventory: what this ComfyUI is made of, for pinning it and for noticing that it drifted."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from . import checkout
from .gaps import Gaps
from .hashing import Content, Hasher
from .internals import Missing, installation

SCHEMA = 1

_IMPORT_FAILURES = re.compile(
    r"(?:Cannot import (?P<failed>.+?) module for custom nodes: "
    r"|Error while calling comfy_entrypoint in (?P<called>.+?): "
    r"|Skip (?P<skipped>.+?) module for custom nodes due to )"
    r"(?P<reason>.*)",
    re.DOTALL,
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Model:
    """A model file under its name, and as it lies on disk."""

    folder: str
    name: str
    content: Content


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose digests are asked for: every model's, and before these some named FOLDER/NAME."""

    all: bool = False
    named: frozenset[str] = field(default_factory=frozenset[str])


def import_failures(log: Iterable[str]) -> dict[str, str]:
    """Why node packs were not imported, by path, from the messages of ComfyUI's log. Pure."""
    failures: dict[str, str] = {}
    for line in log:
        found = _IMPORT_FAILURES.search(_COLOURS.sub("", line))
        if found:
            path = found["failed"] or found["called"] or found["skipped"]
            failures[path] = found["reason"].strip()
    return failures


def report(hasher: Hasher, wanted: Wanted, failures: Mapping[str, str]) -> dict[str, Any]:
    """Reads all of it; takes from 0.1 s to some seconds, by the number of files and packages. Sizes in bytes."""
    gaps = Gaps()
    models = gaps.read("models", lambda: list_models(gaps))
    _ask(hasher, models or [], wanted, gaps)
    gaps.note("hashing", hasher.fault)
    hashing = _progress(hasher, models or [])  # before the digests: what it calls done is in them
    found = gaps.fields(
        {
            "python": platform.python_version,
            "torch": installation.torch_version,
            "packages": packages,
            "devices": installation.devices,
            "node_packs": lambda: [_node_pack(pack, failures, gaps) for pack in installation.node_packs()],
        }
    )
    entries = [_model(model, hasher, gaps) for model in models or []]
    return {
        "schema": SCHEMA,
        "comfyui": _comfyui(gaps),
        **found,
        **({} if models is None else {"models": entries}),
        "hashing": hashing,
        "unavailable": gaps.reasons,
    }


def list_models(gaps: Gaps) -> list[Model]:
    """Every model that ComfyUI lists, with the file that it would load for the name."""
    models: list[Model] = []
    for folder, roots in sorted(installation.model_folders().items()):
        for name in gaps.read(f"models.{folder}", lambda folder=folder: installation.model_names(folder)) or ():
            path = next((path for root in roots if (path := root / name).is_file()), None)
            content = path and gaps.read(f"models.{folder}/{name}", lambda path=path: Content.of(str(path)))
            if content:
                models.append(Model(folder, name, content))
    return models


def packages() -> dict[str, str]:
    """Versions of the installed Python packages, by normalised name; the one that would be imported, of two."""
    found: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return dict(sorted(found.items()))


def _ask(hasher: Hasher, models: Collection[Model], wanted: Wanted, gaps: Gaps) -> None:
    if wanted.all:
        hasher.ask(model.content for model in models)
    named = {f"{model.folder}/{model.name}": model.content for model in models}
    hasher.ask([named[name] for name in wanted.named & named.keys()], first=True)
    for name in sorted(wanted.named - named.keys()):
        gaps.note(f"sha256.{name}", "this ComfyUI lists no such model")


def _model(model: Model, hasher: Hasher, gaps: Gaps) -> dict[str, Any]:
    content = model.content
    gaps.note(f"sha256.{model.folder}/{model.name}", hasher.failure(content))
    return {
        "folder": model.folder,
        "name": model.name,
        "bytes": content.size,
        "mtime": content.mtime_ns / 1e9,
        "sha256": hasher.digest(content),
    }


def _progress(hasher: Hasher, models: Iterable[Model]) -> dict[str, int]:
    """Of the listed files whose digests are known or were asked for; a failed one is done, and is in `unavailable`."""
    done = total = 0
    for content in {model.content for model in models}:
        waits = hasher.is_waiting(content)  # asked first: what ends in between is then counted as not done yet
        ended = not waits and (hasher.digest(content) or hasher.failure(content)) is not None
        done += ended
        total += waits or ended
    return {"done": done, "total": total}


def _comfyui(gaps: Gaps) -> dict[str, Any]:
    found = gaps.fields({"version": installation.version}, "comfyui.")
    directory = gaps.read("comfyui.commit", installation.directory)
    state = _checkout(directory, gaps, "comfyui.") if directory else {}
    if not state:
        gaps.note("comfyui.commit", f"{directory} is not a git checkout")
    return {**found, **state}


def _node_pack(pack: installation.Pack, failures: Mapping[str, str], gaps: Gaps) -> dict[str, Any]:
    imported = pack.imported and str(pack.path) not in failures
    entry: dict[str, Any] = {"name": pack.name, "imported": imported}
    if pack.path.resolve() == Path(__file__).resolve().parent:
        entry["own"] = True
    if not imported:
        entry["error"] = failures.get(str(pack.path), "ComfyUI did not import it; its log may say why")
    within = f"node_packs.{pack.name}."
    entry.update(gaps.fields({"version": lambda: _declared_version(pack.path)}, within))
    return {**entry, **_checkout(pack.path, gaps, within)}


def _checkout(directory: Path, gaps: Gaps, within: str) -> dict[str, Any]:
    """Nothing, if the directory is not the top of a git checkout."""
    repository = gaps.read(f"{within}commit", lambda: checkout.git_directory(directory))
    if repository is None:
        return {}
    sources: dict[str, Callable[[], Any]] = {
        "commit": lambda: checkout.commit(repository),
        "remote": lambda: checkout.origin(repository),
        "dirty": lambda: _is_dirty(directory),
    }
    return gaps.fields(sources, within)


def _is_dirty(directory: Path) -> bool:
    try:
        return checkout.is_dirty(directory)
    except FileNotFoundError:
        raise Missing("git is not installed") from None
    except subprocess.CalledProcessError as error:
        raise Missing(f"git status failed: {error.stderr.strip()}") from error


def _declared_version(pack: Path) -> str | None:
    """As a pack of ComfyUI's registry states it, which comes without a git checkout."""
    declaration = pack / "pyproject.toml"
    if not declaration.is_file():
        return None
    project = re.search(r"^\[project\]$(.*?)(?=^\[|\Z)", declaration.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    stated = re.search(r'^version\s*=\s*["\']([^"\']+)["\']', project[1], re.MULTILINE) if project else None
    return stated[1] if stated else None
