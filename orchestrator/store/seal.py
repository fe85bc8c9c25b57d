"""Seal: what may lie in the store only encrypted: keys of other services that a job brings for its nodes.

They have to reach whichever agent executes the job, also after a restart of everything between, so they wait beside the
job; but a store is copied, backed up and looked into. The secret that opens them is in no store: controllers and agents
are given it (see `secret` in settings.py). What was sealed is bound to its job, and goes when that ends.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import orjson
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestrator.errors import Permanent

_CONTEXT = "comfyfleet 2026 secrets beside a job"  # of the key derivation: never changes
_NONCE_BYTES = 12


class Seal:
    """AES-256-GCM under a key derived from the fleet's secret."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(blake3(secret, derive_key_context=_CONTEXT).digest())

    def close(self, secrets: Mapping[str, str], job_id: str) -> bytes:
        """Empty for none."""
        if not secrets:
            return b""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, orjson.dumps(secrets), job_id.encode())

    def open(self, sealed: bytes, job_id: str) -> Mapping[str, str]:
        """What was closed for that job. Raises Permanent("sealed") where that was done with another secret."""
        if not sealed:
            return {}
        nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return orjson.loads(self._cipher.decrypt(nonce, content, job_id.encode()))
        except InvalidTag:
            raise Permanent(
                "sealed", "the key that this job brought cannot be read here: give every controller and agent the same "
                "`secret` (COMFYFLEET_SECRET) and submit the job again",
            ) from None  # fmt: skip
