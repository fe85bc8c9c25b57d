"""The frames of ComfyUI's websocket, as it encodes them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image, ImageOps

from orchestrator.simulator.comfyui.run import Preview

PREVIEW_IMAGE = 1
PREVIEW_IMAGE_WITH_METADATA = 4
IMAGE_TYPES = {"JPEG": 1, "PNG": 2}


@dataclass(frozen=True, slots=True)
class Message:
    """A text message, or (with a preview) a binary one, for one client or (None) for all."""

    type: str
    data: Mapping[str, Any]
    client_id: str | None
    preview: Preview | None = None


def text_frame(message: Message) -> str:
    return json.dumps({"type": message.type, "data": message.data})


def preview_frame(preview: Preview) -> bytes:
    """[u32 event][u32 image type][image], big-endian."""
    return struct.pack(">II", PREVIEW_IMAGE, IMAGE_TYPES[preview.format]) + _encoded(preview)


def preview_frame_with_metadata(preview: Preview, metadata: Mapping[str, Any]) -> bytes:
    """[u32 event][u32 length][JSON][image], big-endian."""
    text = json.dumps({**metadata, "image_type": Image.MIME[preview.format]}).encode()
    return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(text)) + text + _encoded(preview)


def _encoded(preview: Preview) -> bytes:
    image = preview.image
    if preview.max_side is not None:
        image = ImageOps.contain(image, (preview.max_side, preview.max_side), Image.Resampling.BILINEAR)
    buffer = BytesIO()
    image.save(buffer, format=preview.format, quality=95, compress_level=1)
    return buffer.getvalue()
