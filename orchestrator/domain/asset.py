"""Asset: an input or output file, content-addressed by BLAKE3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class AssetState(StrEnum):
    STORED = "stored"
    DELETING = "deleting"  # unreferenced past its retention; the blob is being removed
    GONE = "gone"


class AssetEvent(StrEnum):
    UPLOAD = "upload"
    LAPSE = "lapse"
    SWEEP = "sweep"


# Deleting is two steps, as the blob cannot go in the same instant as its record: an upload of the same bytes in
# between is told to come again, instead of being left with a record and no blob.
TRANSITIONS: Mapping[tuple[AssetState, AssetEvent], AssetState] = {
    (AssetState.STORED, AssetEvent.UPLOAD): AssetState.STORED,
    (AssetState.STORED, AssetEvent.LAPSE): AssetState.DELETING,
    (AssetState.DELETING, AssetEvent.LAPSE): AssetState.DELETING,
    (AssetState.DELETING, AssetEvent.SWEEP): AssetState.GONE,
    (AssetState.GONE, AssetEvent.UPLOAD): AssetState.STORED,
}


class MediaType(StrEnum):
    """The output types of Comfy API v2; 3D is a file."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    TEXT = "text"
    FILE = "file"
    LATENT = "latent"


@dataclass(frozen=True, slots=True)
class Asset:
    """An uploaded input. `hash` is "blake3:<hex>" of the stored bytes; the id is derived from it."""

    id: str
    hash: str
    size_bytes: int
    content_type: str
    name: str  # as the uploader called it; never used as a path
    created_at: float
    width: int | None = None
    height: int | None = None

    @property
    def filename(self) -> str:
        """Its name on a worker: the content's hash, so that the same bytes are sent once and never collide."""
        suffix = self.name.rsplit(".", 1)[-1].lower() if "." in self.name else "bin"
        return f"{self.hash.removeprefix('blake3:')[:40]}.{suffix if suffix.isalnum() and len(suffix) <= 8 else 'bin'}"


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a run made. Served only once its run is committed. `path` is the storage key."""

    node_id: str
    name: str
    type: MediaType
    content_type: str
    size_bytes: int
    hash: str  # "blake3:<hex>"
    path: str
    width: int | None = None
    height: int | None = None
    place: str | None = None  # where ComfyUI had it: "output/sub/folder"; None for what was in no file


def asset_id(blake3_hex: str) -> str:
    """The id of the asset with this content."""
    return f"ast_{blake3_hex[:40]}"
