"""Keys that lie in the store: unreadable there, and anywhere but where they belong."""

from __future__ import annotations

import pytest

from orchestrator.errors import Permanent
from orchestrator.store.seal import Seal

KEYS = {"api_key_comfy_org": "comfyui-0123456789"}


def test_what_was_closed_opens_with_the_same_secret_alone() -> None:
    sealed = Seal(b"secret").close(KEYS, "job")
    assert Seal(b"secret").open(sealed, "job") == KEYS
    with pytest.raises(Permanent, match="COMFYFLEET_SECRET"):
        Seal(b"another").open(sealed, "job")


def test_it_opens_for_its_own_job_alone() -> None:
    seal = Seal(b"secret")
    with pytest.raises(Permanent):
        seal.open(seal.close(KEYS, "job"), "another")


def test_nothing_of_it_is_seen_and_no_two_are_alike() -> None:
    seal = Seal(b"secret")
    first, second = seal.close(KEYS, "job"), seal.close(KEYS, "job")
    assert first != second
    assert b"comfyui" not in first
    assert b"api_key" not in first


def test_none_is_nothing() -> None:
    assert Seal(b"secret").close({}, "job") == b""
    assert Seal(b"secret").open(b"", "job") == {}
