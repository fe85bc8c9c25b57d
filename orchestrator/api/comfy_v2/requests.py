"""What clients of the Comfy API v2 send, as the models that parse it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr

from orchestrator.controller.requests import Labels, Request
from orchestrator.errors import InvalidRequest
from orchestrator.graph.shape import pointer

MAX_FILTERS = 3
_HASH = r"^blake3:[0-9a-f]{64}$"


def _reserved(value: Any) -> None:
    if value is not None:
        raise InvalidRequest(
            "invalid_workflow", "webhook_url and inputs are not taken on this API: leave them out, or use /v1/jobs"
        )


def _few(value: Any) -> Any:
    if isinstance(value, Mapping) and len(value) > MAX_FILTERS:
        raise InvalidRequest(
            "invalid_metadata_filter", f"a list takes at most {MAX_FILTERS} labels to filter by, not {len(value)}",
            pointer=pointer("metadata"),
        )  # fmt: skip
    return value


def _hash(value: Any) -> Any:
    if isinstance(value, str) and not re.match(_HASH, value):
        raise InvalidRequest(
            "invalid_request", f"{value[:80]!r} is no hash of a file: blake3: and 64 digits of 0-9 a-f are",
            pointer=pointer("hash"),
        )  # fmt: skip
    return value


def _none_of_them(value: Any) -> Any:
    return {} if value is None else value


BlobHash = Annotated[
    str, BeforeValidator(_hash), Field(pattern=_HASH, description="blake3:HEX of the file, in lower case.")
]
Reserved = Annotated[None, BeforeValidator(_reserved), Field(description="Refused: see /v1/jobs.")]


class ExtraData(Request):
    api_key_comfy_org: Annotated[SecretStr, Field(min_length=1, max_length=4096)]
    """Goes to the nodes that call Comfy's partners, and nowhere else."""

    def keys(self) -> dict[str, str]:
        """As ComfyUI wants them."""
        return {"api_key_comfy_org": self.api_key_comfy_org.get_secret_value()}


class ComfyJob(Request):
    """A workflow to run."""

    workflow: Any = Field(json_schema_extra={"type": "object"})
    """The graph in API format; a file is {"__type": "core/ASSET", "info": {"id": ...}}."""
    extra_data: ExtraData | None = None
    metadata: Annotated[Labels, BeforeValidator(_none_of_them)] = Field(default_factory=dict)
    webhook_url: Reserved = None
    inputs: Reserved = None


class ComfyJobFilter(Request):
    metadata: Annotated[Labels, BeforeValidator(_few)] = Field(default_factory=dict)
    """metadata[KEY]=VALUE: jobs with that label."""
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: str | None = None
    """`next_cursor` of the page before."""


class Mint(Request):
    """A file that is there already, by its content."""

    hash: BlobHash
    file_path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    tags: tuple[str, ...] | None = Field(default=None, max_length=100)
    """Taken, and not kept."""
