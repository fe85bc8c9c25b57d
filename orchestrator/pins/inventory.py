"""The answer of a ComfyUI's GET /fleet/inventory, as an Observed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

from orchestrator.errors import InvalidRequest
from orchestrator.pins.lock import normalised
from orchestrator.pins.observed import (
    SHIPPED_PACKS,
    Observed,
    SeenCheckout,
    SeenModel,
    SeenPack,
    SeenPackage,
)

SCHEMA = 1


def parse(document: object) -> Observed:
    """Raises InvalidRequest("invalid_inventory") when this is none that we know."""
    if not isinstance(document, dict) or cast("dict[str, Any]", document).get("schema") != SCHEMA:
        raise InvalidRequest(
            "invalid_inventory",
            f"the answer of /fleet/inventory is not of schema {SCHEMA}: install comfyfleet and its node pack from one "
            "release",
        )
    report = cast("dict[str, Any]", document)
    gaps = _texts(report.get("unavailable"))
    python = report.get("python")
    packages = {normalised(name): SeenPackage(version) for name, version in _texts(report.get("packages")).items()}
    return Observed(
        comfyui=_checkout(_mapping(report.get("comfyui"))),
        node_packs=_node_packs(report),
        python=python if isinstance(python, str) else None,
        packages=packages if "packages" in report else None,
        models=_models(report),
        gaps=dict(_gaps(gaps)),
    )


def unhashed(document: object, wanted: Collection[str] | None) -> list[str]:
    """Models whose digest is still being computed: of those wanted, or of all (None)."""
    report = _mapping(document)
    failed = _texts(report.get("unavailable"))
    return [
        name
        for name, model in (_models(report) or {}).items()
        if model.sha256 is None and f"sha256.{name}" not in failed and (wanted is None or name in wanted)
    ]


def _node_packs(report: Mapping[str, Any]) -> dict[str, SeenPack] | None:
    if not isinstance(report.get("node_packs"), list):
        return None
    packs: dict[str, SeenPack] = {}
    for entry in map(_mapping, report["node_packs"]):
        name = str(entry.get("name"))
        if name in SHIPPED_PACKS or name.endswith(".disabled") or entry.get("own") is True:
            continue
        failure = None if entry.get("imported") else str(entry.get("error", "it does not say why"))
        packs[name] = SeenPack(_checkout(entry), failure)
    return packs


def _checkout(entry: Mapping[str, Any]) -> SeenCheckout:
    commit, repo, dirty = entry.get("commit"), entry.get("remote"), entry.get("dirty")
    edited = ("some that git tracks" if dirty else "") if isinstance(dirty, bool) else None
    return SeenCheckout(
        commit if isinstance(commit, str) else None, repo if isinstance(repo, str) else None, edited
    )  # fmt: skip


def _models(report: Mapping[str, Any]) -> dict[str, SeenModel] | None:
    if not isinstance(report.get("models"), list):
        return None
    models: dict[str, SeenModel] = {}
    for entry in map(_mapping, report["models"]):
        digest, size = entry.get("sha256"), entry.get("bytes")
        model = SeenModel(digest if isinstance(digest, str) else None, max(0, size) if isinstance(size, int) else 0)
        models[f"{entry.get('folder')}/{entry.get('name')}"] = model
    return models


def _gaps(unavailable: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for where, why in unavailable.items():
        kind, _, rest = where.partition(".")
        if kind == "node_packs" and rest:
            yield f"node_pack {rest.rpartition('.')[0]}", why
        elif kind in ("sha256", "models") and rest:
            yield f"model {rest}", why
        else:
            yield kind, why


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _texts(value: object) -> dict[str, str]:
    return {name: text for name, text in _mapping(value).items() if isinstance(text, str)}
