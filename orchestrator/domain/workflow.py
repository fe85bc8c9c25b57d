"""Workflow: a registered, named bundle, immutable by version: graph + params schema + bindings + policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.domain.job import Priority
from orchestrator.domain.quality import WorkflowGate


class ParamKind(StrEnum):
    """What a bound param holds: a plain JSON value, or the id of an asset of this kind."""

    VALUE = "value"
    ASSET = "asset"
    IMAGE = "image"
    MASK = "mask"
    VIDEO = "video"
    AUDIO = "audio"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a param goes: inputs as (node id, input name)."""

    inputs: tuple[tuple[str, str], ...]
    kind: ParamKind = ParamKind.VALUE


@dataclass(frozen=True, slots=True)
class Workflow:
    """One version of a workflow. `digest` is the BLAKE3 of its content, so that equal content is the same version."""

    name: str
    version: int
    digest: str
    graph: Mapping[str, Any]  # API format
    params: Mapping[str, Any]  # JSON Schema 2020-12
    bind: Mapping[str, Binding]
    description: str = ""
    outputs: tuple[str, ...] = ()
    pool: str = "default"
    timeout_s: float = 600.0
    retries: int = 2
    priority: Priority = Priority.NORMAL
    quality: WorkflowGate | None = None  # None: whatever a run makes is delivered
    created_at: float = 0.0
