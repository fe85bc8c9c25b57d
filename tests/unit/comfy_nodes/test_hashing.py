from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from comfy_nodes.hashing import Content, Hasher

SOON_S = 10


def hashed(hasher: Hasher, *contents: Content) -> list[str | None]:
    """Digests once nothing of these waits any more."""
    until = time.monotonic() + SOON_S
    while any(map(hasher.is_waiting, contents)):
        assert time.monotonic() < until, "hashing did not end"
        time.sleep(0.005)
    return [hasher.digest(content) for content in contents]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "user" / "__fleet" / "sha256.json"


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for path in paths:
        path.write_bytes(path.name.encode() * 1000)
    return paths


def test_digests_are_computed_when_asked_for_and_not_before(table: Path, models: list[Path]) -> None:
    hasher = Hasher(table)
    contents = [Content.of(str(path)) for path in models]
    assert [hasher.digest(content) for content in contents] == [None, None]
    hasher.ask(contents)
    assert hashed(hasher, *contents) == [sha256(path) for path in models]
    assert hasher.fault is None


def test_what_is_known_outlives_the_process_and_is_shared_with_others(table: Path, models: list[Path]) -> None:
    first, second = (Content.of(str(path)) for path in models)
    running = Hasher(table)
    hasher = Hasher(table)
    hasher.ask([first])
    hashed(hasher, first)
    wait_for(table)
    running.ask([second])
    assert hashed(running, first, second) == [sha256(path) for path in models]
    wait_for(table, str(models[1]))
    assert [Hasher(table).digest(content) for content in (first, second)] == [sha256(path) for path in models]
    assert [path.name for path in table.parent.iterdir() if path.suffix not in (".json", ".lock")] == []


def wait_for(table: Path, path: str = "") -> None:
    """The table is written after the digests are known."""
    until = time.monotonic() + SOON_S
    while not (table.exists() and path in table.read_text()):
        assert time.monotonic() < until, "the table was not written"
        time.sleep(0.005)


def test_another_content_of_a_file_is_another_file(table: Path, models: list[Path]) -> None:
    hasher = Hasher(table)
    before = Content.of(str(models[0]))
    hasher.ask([before])
    hashed(hasher, before)
    models[0].write_bytes(b"x" * before.size)
    os.utime(models[0], ns=(0, before.mtime_ns + 1))
    after = Content.of(str(models[0]))
    assert hasher.digest(after) is None
    hasher.ask([after])
    assert hashed(hasher, after) == [sha256(models[0])]


def test_links_to_a_file_share_its_digest(table: Path, models: list[Path], tmp_path: Path) -> None:
    hasher = Hasher(table)
    content = Content.of(str(models[0]))
    hasher.ask([content])
    hashed(hasher, content)
    link = tmp_path / "link.safetensors"
    link.symlink_to(models[0])
    assert hasher.digest(Content.of(str(link))) == sha256(models[0])


def test_a_file_that_cannot_be_hashed_says_why_until_it_can(table: Path, models: list[Path]) -> None:
    hasher = Hasher(table)
    content = Content.of(str(models[0]))
    kept = models[0].rename(models[0].with_suffix(".kept"))
    hasher.ask([content])
    assert hashed(hasher, content) == [None]
    assert "No such file" in (hasher.failure(content) or "")
    kept.rename(models[0])
    hasher.ask([content])
    assert hashed(hasher, content) == [sha256(models[0])]
    assert hasher.failure(content) is None


def test_a_file_that_changed_since_it_was_listed_has_no_digest(table: Path, models: list[Path]) -> None:
    hasher = Hasher(table)
    listed = Content.of(str(models[0]))
    models[0].write_bytes(b"shorter")
    hasher.ask([listed])
    assert hashed(hasher, listed) == [None]
    assert hasher.failure(listed) == "it changed while it was read"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": {"/a": [1]}}', '{"files": {"/a": ["x", 2, "y"]}}'])
def test_a_damaged_table_is_made_anew(table: Path, models: list[Path], content: str) -> None:
    table.parent.mkdir(parents=True)
    table.write_text(content)
    hasher = Hasher(table)
    assert str(table) in (hasher.fault or "")
    known = Content.of(str(models[0]))
    hasher.ask([known])
    hashed(hasher, known)
    wait_for(table, str(models[0]))
    assert json.loads(table.read_text())["files"][str(models[0])][2] == sha256(models[0])


def test_without_a_place_for_the_table_digests_are_known_here(tmp_path: Path, models: list[Path]) -> None:
    (tmp_path / "user").write_text("a file where a folder should be")
    hasher = Hasher(tmp_path / "user" / "sha256.json")
    content = Content.of(str(models[0]))
    hasher.ask([content], first=True)
    assert hashed(hasher, content) == [sha256(models[0])]
