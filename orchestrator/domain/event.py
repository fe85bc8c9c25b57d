"""Event: what a watcher of a job is told, on every door. The words are those of Comfy API v2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class EventType(StrEnum):
    STATUS = "status"  # {status, queue_position?}
    PROGRESS = "progress"  # the fields of Progress
    OUTPUT = "output"  # the fields of Output; always before the terminal status
    QUALITY = "quality"  # the fields of Judgement
    PREVIEW = "preview"  # {node_id, content_type, data_base64}; live only, never replayed
    COMFY = "comfy"  # {run, frames}; what ComfyUI itself says, told apart from all others (see store/port/: Frame)


@dataclass(frozen=True, slots=True)
class Event:
    """`id` orders a job's events and is what a watcher resumes after; None for what is not kept (previews)."""

    type: EventType
    data: Mapping[str, Any]
    id: str | None = None
