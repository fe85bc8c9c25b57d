"""A snapshot of ComfyUI-Manager, as an Observed. Pure.

It names commits and versions. It knows nothing of package hashes, of the Python below them or of models, and a node
pack that came from ComfyUI's registry has a version there but no commit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import yaml

from orchestrator.errors import InvalidRequest
from orchestrator.pins.lock import normalised
from orchestrator.pins.observed import SHIPPED_PACKS, Observed, SeenCheckout, SeenPack, SeenPackage
from orchestrator.pins.sources import without_credentials

COMFYUI_REPO = "https://github.com/Comfy-Org/ComfyUI"
"""Where a commit that a snapshot gives for ComfyUI is from, as it does not say."""

UNKNOWN_VERSION = "unknown"
_PINNED = re.compile(r"([A-Za-z0-9._-]+)===?(\S+)")


def parse(text: str, file: str) -> Observed:
    """The .json or .yaml that ComfyUI-Manager saves. Raises InvalidRequest("invalid_snapshot")."""
    try:
        document: object = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise InvalidRequest("invalid_snapshot", f"{file} is neither JSON nor YAML: {error}") from None
    snapshot = _mapping(document)
    snapshot = _mapping(snapshot.get("custom_nodes")) or snapshot
    if "comfyui" not in snapshot or "git_custom_nodes" not in snapshot:
        message = f"{file} is no snapshot of ComfyUI-Manager: it lacks comfyui and git_custom_nodes"
        raise InvalidRequest("invalid_snapshot", message)
    commit = snapshot["comfyui"]
    packages = snapshot.get("pips")
    packs, gaps = _node_packs(snapshot)
    gaps |= dict.fromkeys(("comfyui", "python", "packages", "models"), "a snapshot does not know it")
    return Observed(
        comfyui=SeenCheckout(commit if isinstance(commit, str) else None, COMFYUI_REPO, edited=""),
        node_packs=packs,
        python=None,
        packages=None if packages is None else _packages(_mapping(packages)),
        models=None,
        gaps=gaps,
    )


def completed(snapshot: Observed, folder: Observed) -> Observed:
    """The snapshot, with what it cannot know from a folder that it was made of."""
    same = folder.comfyui.commit == snapshot.comfyui.commit
    installed = {name.lower(): (name, pack) for name, pack in (folder.node_packs or {}).items()}
    packs: dict[str, SeenPack] = {}
    for name, pack in (snapshot.node_packs or {}).items():
        found, seen = installed.get(name.lower(), (name, pack))
        packs[found] = seen if pack.checkout.commit in (None, seen.checkout.commit) else pack
    unknown = snapshot.gaps.keys() - {"python", "packages", "models"}
    return Observed(
        folder.comfyui if same else snapshot.comfyui,
        packs,
        folder.python,
        folder.packages if snapshot.packages is None else snapshot.packages,
        folder.models,
        {**{what: snapshot.gaps[what] for what in unknown}, **folder.gaps},
    )


def with_python(snapshot: Observed, version: str) -> Observed:
    """The snapshot, for this Python."""
    return replace(snapshot, python=version)


def _node_packs(snapshot: Mapping[str, Any]) -> tuple[dict[str, SeenPack], dict[str, str]]:
    packs: dict[str, SeenPack] = {}
    gaps: dict[str, str] = {}
    for url, entry in _mapping(snapshot["git_custom_nodes"]).items():
        found = _mapping(entry)
        if not found.get("disabled"):
            name = url.rstrip("/").rpartition("/")[2].removesuffix(".git")
            commit = found.get("hash")
            known = commit if isinstance(commit, str) else None
            packs[name] = SeenPack(SeenCheckout(known, without_credentials(url), edited=""))
    for name, version in _mapping(snapshot.get("cnr_custom_nodes")).items():
        packs[name] = SeenPack(SeenCheckout(None))
        gaps[f"node_pack {name}"] = f"it came from ComfyUI's registry in version {version}, which names no commit"
    for entry in map(_mapping, snapshot.get("file_custom_nodes") or ()):
        name = str(entry.get("filename"))
        if not entry.get("disabled") and name not in SHIPPED_PACKS:
            packs[name] = SeenPack(SeenCheckout(None))
            gaps[f"node_pack {name}"] = "it is a single file, which no commit names"
    return packs, gaps


def _packages(pips: Mapping[str, Any]) -> dict[str, SeenPackage]:
    """Of the lines of `pip freeze`: NAME==VERSION, or NAME with where it was installed from."""
    packages: dict[str, SeenPackage] = {}
    for line, origin in pips.items():
        if line.startswith("#"):
            continue
        if pinned := _PINNED.fullmatch(line):
            packages[normalised(pinned[1])] = SeenPackage(pinned[2])
        else:
            packages[normalised(line)] = SeenPackage(UNKNOWN_VERSION, str(origin or line))
    return packages


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {str(key): entry for key, entry in cast("dict[Any, Any]", value).items()}
