from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.simulator.comfyui.files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_counters_go_on_after_the_highest_in_the_folder(files: Files) -> None:
    first = files.save_path("a/pic", "output")
    assert (first.subfolder, first.name, first.counter) == ("a", "pic", 1)
    for name in ("pic_00007_.png", "pic_00003_.png", "pic_00009.flac", "pic_x_00050_.png", "picture_00099_.png"):
        (first.folder / name).touch()
    assert files.save_path("a/pic", "output").counter == 10


def test_a_folder_that_was_deleted_starts_again(files: Files) -> None:
    first = files.save_path("a/pic", "output")
    (first.folder / "pic_00001_.png").touch()
    (first.folder / "pic_00001_.png").unlink()
    first.folder.rmdir()
    assert files.save_path("a/pic", "output").counter == 1


def test_prefixes_are_filled_in(files: Files) -> None:
    assert files.save_path("%width%x%height%/pic", "temp", 64, 32).subfolder == "64x32"


@pytest.mark.parametrize("prefix", ["../x", "a/../../x", "/etc/x"])
def test_a_prefix_that_leads_outside_is_refused(files: Files, prefix: str) -> None:
    with pytest.raises(Exception, match="outside the output folder"):
        files.save_path(prefix, "output")


def test_a_name_may_say_its_directory(files: Files) -> None:
    assert files.locate("a.png") == files.root / "input" / "a.png"
    assert files.locate("b/a.png [output]") == files.root / "output" / "b" / "a.png"
    with pytest.raises(ValueError, match="Invalid file path"):
        files.locate("../output/a.png")
    assert not files.exists("../output")


def test_only_images_are_offered(files: Files) -> None:
    for name in ("b.png", "a.JPG", "c.txt"):
        (files.root / "input" / name).touch()
    (files.root / "input" / "folder.png").mkdir()
    assert files.input_images() == ["a.JPG", "b.png"]
