"""What a ComfyUI's log tells of its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.worker.supervisor import logbook
from orchestrator.worker.supervisor.logbook import Logbook


def write(book: Logbook, *lines: str, title: str = "w: python main.py") -> None:
    with book.begin(title) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


@pytest.fixture
def book(tmp_path: Path) -> Logbook:
    return Logbook(tmp_path / "logs" / "w.log")


def test_the_last_lines_are_those_of_the_last_start(book: Logbook) -> None:
    write(book, "\x1b[31mof before\x1b[0m")
    assert book.last_lines() == "of before"
    write(book, "one", "", "  50%|#####     | 10/20 [00:01<00:01]\rtwo", "x" * 1000)
    assert book.last_lines(3) == f"one / two / {'x' * 200}"
    write(book)
    assert book.last_lines() == ""


def test_a_log_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    absent = Logbook(tmp_path / "none.log")
    absent.rotate()
    assert (absent.last_lines(), absent.import_failures()) == ("", [])


def test_node_packs_that_failed_are_named_with_the_reason(book: Logbook) -> None:
    write(book, "   0.1 seconds (IMPORT FAILED): /c/custom_nodes/mended")
    write(
        book,
        "Cannot import /c/custom_nodes/packs module for custom nodes: No module named 'cv2'",
        "Import times for custom nodes:",
        "   0.0 seconds: /c/custom_nodes/fine",
        "   0.1 seconds (IMPORT FAILED): /c/custom_nodes/packs",
        "\x1b[32m[INFO]\x1b[0m    0.1 seconds (IMPORT FAILED): /c/custom_nodes/silent\x1b[0m",
        "IMPORT FAILED: nodes_canny.py",
    )
    assert book.import_failures() == ["packs (No module named 'cv2')", "silent", "nodes_canny.py"]


def test_a_log_that_grew_is_moved_while_it_is_written_to(book: Logbook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logbook, "MAX_BYTES", 1000)
    with book.begin("w") as file:
        for number in range(logbook.KEPT + 2):
            file.write(f"{number}".encode() * 1000 + b"\n")
            book.rotate()
        file.write(b"the end\n")
    assert book.path.read_text() == "the end\n"
    kept = [book.path.with_name(f"w.log.{number}").read_text()[-2] for number in range(1, logbook.KEPT + 1)]
    assert kept == ["4", "3", "2"]
    assert not book.path.with_name(f"w.log.{logbook.KEPT + 1}").exists()
    assert book.last_lines() == "the end"


def test_a_log_whose_past_cannot_be_kept_is_cut_all_the_same(book: Logbook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logbook, "MAX_BYTES", 1000)
    monkeypatch.setattr(logbook, "KEPT", 1)
    write(book, "x" * 1000)
    past = book.path.with_name("w.log.1")
    past.symlink_to("/dev/full")
    book.rotate()
    assert book.path.read_text() == ""
    assert not past.is_symlink()
