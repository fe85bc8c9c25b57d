"""Digests of files: read once, and never believed for another content."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from orchestrator.errors import FleetError
from orchestrator.pins import hashes as hashes_module
from orchestrator.pins.hashes import Hashes


def test_a_digest_is_read_once_and_again_when_the_file_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, table = tmp_path / "x", tmp_path / "hashes.json"
    file.write_bytes(b"one")
    os.utime(file, ns=(0, 1_000_000_000))
    assert Hashes(table).sha256(file) == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(hashes_module, "hash_file", None)
        assert Hashes(table).sha256(file) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"two")
    assert Hashes(table).sha256(file) == hashlib.sha256(b"two").hexdigest()


def test_what_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    file, hashes = tmp_path / "x", Hashes(tmp_path / "hashes.json")
    for content in (b"one", b"two"):
        file.write_bytes(content)
        os.utime(file, ns=(time.time_ns(),) * 2)
        assert hashes.sha256(file) == hashlib.sha256(content).hexdigest()
    assert not (tmp_path / "hashes.json").exists()


def test_a_file_that_changes_while_it_is_read_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"one")
    monkeypatch.setattr(hashes_module, "hash_file", lambda path: str(path.write_bytes(b"other")))
    with pytest.raises(FleetError, match="was written to while it was read"):
        Hashes(tmp_path / "hashes.json").sha256(file)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"schema": 2}', b'{"schema": 1, "files": {"x": 1}}'])
def test_a_damaged_table_costs_time_only(tmp_path: Path, damage: bytes) -> None:
    file, table = tmp_path / "x", tmp_path / "hashes.json"
    file.write_bytes(b"one")
    os.utime(file, ns=(0, 1_000_000_000))
    table.write_bytes(damage)
    assert Hashes(table).sha256(file) == hashlib.sha256(b"one").hexdigest()
    assert Hashes(table).known(file, file.stat())
