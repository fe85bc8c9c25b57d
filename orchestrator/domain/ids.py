"""Identifiers: UUIDv7 in canonical form, so that they sort by time and are valid prompt_ids for ComfyUI."""

from __future__ import annotations

import uuid


def uuid7(unix_ms: int, random_bits: int) -> str:
    """RFC 9562 version 7 from a 48-bit millisecond time and 74 random bits."""
    value = (unix_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (random_bits >> 62 & 0xFFF) << 64 | 0b10 << 62
    return str(uuid.UUID(int=value | random_bits & (1 << 62) - 1))
