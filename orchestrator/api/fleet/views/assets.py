"""Assets."""

from __future__ import annotations

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.api.fleet.views.times import iso
from orchestrator.domain.asset import Asset


@described
class AssetView(TypedDict):
    id: str
    """What a param of an asset kind is set to."""
    url: str
    hash: str
    size_bytes: int
    content_type: str
    name: str
    width: int | None
    height: int | None
    created_at: str


def asset_view(asset: Asset) -> AssetView:
    return {
        "id": asset.id,
        "url": f"/v1/assets/{asset.id}/content",
        "hash": asset.hash,
        "size_bytes": asset.size_bytes,
        "content_type": asset.content_type,
        "name": asset.name,
        "width": asset.width,
        "height": asset.height,
        "created_at": iso(asset.created_at),
    }
