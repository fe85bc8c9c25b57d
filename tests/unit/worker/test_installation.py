"""How a ComfyUI is started for one worker."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from orchestrator.domain.needs import ModelRef
from orchestrator.errors import InvalidRequest
from orchestrator.worker.supervisor.home import Home
from orchestrator.worker.supervisor.installation import Installation

FLAGS = """--listen --port --input-directory --output-directory --temp-directory --user-directory --database-url
--disable-metadata --cpu --extra-model-paths-config"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    (folder / "custom_nodes").mkdir()
    (folder / "main.py").write_text("")
    offer(folder, *FLAGS.split())
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "w", tmp_path / "w" / "w.log")


def offer(checkout: Path, *flags: str) -> None:
    (checkout / "comfy" / "cli_args.py").write_text("\n".join(f'parser.add_argument("{flag}")' for flag in flags))


def test_one_for_the_cpu_keeps_to_itself(checkout: Path, home: Home) -> None:
    found = Installation.find(checkout, None, "cpu", args=("--fast",))
    command = found.command(home, 7000)
    assert command[:2] == [sys.executable, str(checkout / "main.py")]
    line = " ".join(command[2:])
    assert line.startswith(f"--listen 127.0.0.1 --port 7000 --input-directory {home.input} ")
    assert f"--output-directory {home.output} --temp-directory {home.folder} --user-directory {home.user}" in line
    assert f"--database-url sqlite:///{home.user}/comfyui.db" in line
    assert line.endswith("--disable-metadata --cpu --fast")


def test_what_an_older_version_does_not_know_is_left_out(checkout: Path, home: Home) -> None:
    offer(checkout, "--listen", "--port", "--disable-metadata")
    line = " ".join(Installation.find(checkout, None, 0, keep_metadata=True).command(home, 7000))
    for flag in ("--database-url", "--user-directory", "--disable-metadata", "--cpu"):
        assert flag not in line


def test_a_gpu_is_the_only_one_that_it_sees_and_our_secrets_are_not(checkout: Path) -> None:
    ours = {"PATH": "/bin", "COMFYFLEET_REDIS__URL": "redis://:secret@h", "CUDA_VISIBLE_DEVICES": "0,1"}
    seen = Installation.find(checkout, None, 1).environment(ours)
    assert seen == {
        "PATH": "/bin", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "1",
    }  # fmt: skip
    assert Installation.find(checkout, None, "cpu").environment(ours) == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0,1"}


def test_its_python_is_that_of_its_virtual_environment(checkout: Path) -> None:
    python = checkout / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert Installation.find(checkout, None, "cpu").python == python
    assert Installation.find(checkout, Path(sys.executable), "cpu").python == Path(sys.executable)


def test_what_is_no_installation_is_refused(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=re.escape("set `comfyui:` to the folder with its main.py")):
        Installation.find(tmp_path, None, "cpu")
    with pytest.raises(InvalidRequest, match=r"absent cannot be executed: set `python:`"):
        Installation.find(checkout, tmp_path / "absent", "cpu")
    with pytest.raises(InvalidRequest, match=r"ComfyUI cannot be executed: set `python:`"):
        Installation.find(checkout, checkout, "cpu")


def test_our_node_pack_is_shown_to_it_without_touching_the_checkout(checkout: Path, home: Home, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    found = Installation.find(checkout, None, "cpu", pack=pack)
    home.furnish()
    for _ in range(2):
        found.furnish(home)
    paths = home.folder / "extra_model_paths.yaml"
    assert found.command(home, 1)[-2:] == ["--extra-model-paths-config", str(paths)]
    assert paths.read_text() == f"comfyfleet:\n  custom_nodes: {home.folder / 'custom_nodes'}\n"
    assert (home.folder / "custom_nodes" / "comfyfleet").resolve() == pack
    assert list((checkout / "custom_nodes").iterdir()) == []


def test_a_checkout_that_has_the_pack_is_not_shown_it_twice(checkout: Path, home: Home, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    (checkout / "custom_nodes" / "under-another-name").symlink_to(pack)
    found = Installation.find(checkout, None, "cpu", pack=pack)
    home.furnish()
    found.furnish(home)
    assert "--extra-model-paths-config" not in found.command(home, 1)
    assert not (home.folder / "custom_nodes").exists()


class TestHome:
    def test_one_agent_at_a_time(self, home: Home) -> None:
        home.claim()
        other = Home(home.folder, home.log)
        with pytest.raises(InvalidRequest, match="another comfyfleet on this machine supervises"):
            other.claim()
        home.release()
        other.claim()
        other.release()

    def test_a_fresh_comfyui_finds_nothing_of_the_one_before(self, home: Home) -> None:
        home.furnish()
        for folder in (home.input, home.output, home.temp, home.user):
            (folder / "left").write_text("x")
        home.furnish()
        left = [folder.name for folder in (home.input, home.output, home.temp, home.user) if any(folder.iterdir())]
        assert left == ["user"]

    def test_what_was_collected_is_swept_and_what_may_yet_be_is_not(self, home: Home) -> None:
        home.furnish()
        for run in ("done", "going"):
            (home.output / "fleet" / run).mkdir(parents=True)
            (home.output / "fleet" / run / "a.png").write_text("x")
        old, new = home.temp / "old.png", home.temp / "new.png"
        for file, age_s in ((old, 50), (new, 20)):
            file.write_text("x")
            written = file.stat().st_mtime - age_s
            os.utime(file, (written, written))
        home.sweep(["done"], busy_s=30.0)
        assert [folder.name for folder in (home.output / "fleet").iterdir()] == ["going"]
        assert list(home.temp.iterdir()) == [new]
        home.sweep([], busy_s=0.0)
        assert list(home.temp.iterdir()) == []
        assert home.free_bytes() > 0


def test_a_models_file_is_where_comfyui_looks_for_it_first(checkout: Path) -> None:
    found = Installation.find(checkout, None, "cpu")
    model = ModelRef("text_encoders", "t5/xxl.safetensors")
    assert found.model_file(model) is None
    for place in ("clip", "text_encoders"):
        file = checkout / "models" / place / model.name
        file.parent.mkdir(parents=True)
        file.write_text("")
        assert found.model_file(model) == file
