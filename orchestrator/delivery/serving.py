"""Serving: the headers that make other people's files harmless in a browser. Pure.

What a browser could run (HTML, SVG, PDF, anything unknown) is only ever downloaded, and never guessed at.
"""

from __future__ import annotations

import re
from urllib.parse import quote

INLINE = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "video/mp4", "video/webm"})
_NOT_PLAIN = re.compile(r'[^\x20-\x7e]|["\\%]')
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\]")
_MAX_NAME = 200  # characters


def serving_headers(content_type: str, filename: str) -> dict[str, str]:
    """Content-Type, Content-Disposition and nosniff for a file whose `content_type` came from looking at its bytes."""
    return {
        "Content-Type": content_type,
        "Content-Disposition": content_disposition(filename, inline=content_type in INLINE),
        "X-Content-Type-Options": "nosniff",
    }


def content_disposition(filename: str, *, inline: bool) -> str:
    """RFC 6266: the name in ASCII for old clients, and in full where that loses something. Safe for any name."""
    name = _FORBIDDEN.sub("_", filename)[-_MAX_NAME:] or "file"
    plain = _NOT_PLAIN.sub("_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'{"inline" if inline else "attachment"}; filename="{plain}"{extended}'
