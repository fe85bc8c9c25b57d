"""Storage keys: where a file lies, in every kind of storage alike. Pure.

A key is a relative path with forward slashes that is safe as a file name and as an S3 key. Each run writes under its
own path, so that what a superseded run wrote is never seen and goes with its job.
"""

from __future__ import annotations

import re

from orchestrator.errors import InvalidRequest

MAX_KEY_BYTES = 900  # S3 allows 1024, and an operator's prefix goes before
MAX_PART_BYTES = 255  # of one name, in every file system
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\]")
_NAME_BYTES = 200
_SUFFIX_BYTES = 20


def job_prefix(job_id: str) -> str:
    """The folder of everything that a job's runs made."""
    return f"runs/{job_id}"


def run_prefix(job_id: str, run_id: str) -> str:
    """The folder of everything that one run made."""
    return f"{job_prefix(job_id)}/{run_id}"


def output_key(job_id: str, run_id: str, number: int, name: str) -> str:
    """The key of a run's output; `name` is the worker's word for it and may be anything."""
    return f"{run_prefix(job_id, run_id)}/{number}-{_tame(name)}"


def asset_key(content_hash: str) -> str:
    """The key of the asset with this content; the hash with or without its "blake3:"."""
    digest = content_hash.removeprefix("blake3:")
    return f"assets/{digest[:2]}/{digest}"


def check_key(key: str) -> str:
    """The key itself, or InvalidRequest("invalid_key") when it could leave the storage or not be a file's name."""
    parts = key.split("/")
    if not all(parts) or any(part.startswith(".") for part in parts):
        problem = "has an empty part, or one that begins with a dot"
    elif _UNSAFE.search(key.replace("/", "")):
        problem = "has a backslash, a control character or half a surrogate pair"
    elif len(key.encode()) > MAX_KEY_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        problem = f"is longer than {MAX_KEY_BYTES} bytes, or than {MAX_PART_BYTES} in one part"
    else:
        return key
    raise InvalidRequest("invalid_key", f"{key[:200]!r} cannot be a storage key: it {problem}")


def _tame(name: str) -> str:
    """The name without what a key may not hold, shortened before its suffix."""
    safe = _UNSAFE.sub("_", name)
    if len(safe.encode()) <= _NAME_BYTES:
        return safe
    stem, dot, suffix = safe.rpartition(".")
    tail = dot + suffix if stem and len(suffix.encode()) < _SUFFIX_BYTES else ""
    return safe.encode()[: _NAME_BYTES - len(tail.encode())].decode(errors="ignore") + tail
