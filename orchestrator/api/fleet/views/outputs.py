"""Outputs of jobs and of their candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.domain.asset import MediaType, Output


@described
class OutputView(TypedDict):
    url: str
    """Relative to the fleet."""
    name: str
    node: str
    type: MediaType
    content_type: str
    size_bytes: int
    hash: str
    """blake3:HEX of the file."""
    width: int | None
    height: int | None


def outputs_url(job_id: str) -> str:
    """Relative to the fleet."""
    return f"/v1/jobs/{job_id}/outputs"


def candidate_outputs_url(job_id: str, slot: int) -> str:
    return f"/v1/jobs/{job_id}/candidates/{slot}/outputs"


def output_view(base: str, n: int, output: Output) -> OutputView:
    """`base`: where the outputs are served by their numbers, see outputs_url."""
    return {
        "url": f"{base}/{n}",
        "name": output.name,
        "node": output.node_id,
        "type": output.type,
        "content_type": output.content_type,
        "size_bytes": output.size_bytes,
        "hash": output.hash,
        "width": output.width,
        "height": output.height,
    }


def told_output(job_id: str, told: Mapping[str, Any]) -> OutputView:
    """From an output's event, which has its `index` among the job's and not where it lies in storage."""
    fields = {**told, "type": MediaType(told["type"]), "path": ""}
    return output_view(outputs_url(job_id), fields.pop("index"), Output(**fields))
