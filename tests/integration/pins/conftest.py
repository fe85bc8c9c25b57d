"""A ComfyUI of a small world, its lock, and the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from orchestrator.cli.main import app
from tests.fixtures.pinned import Run, World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in the world, where pip finds its wheels and nothing else."""
    monkeypatch.chdir(world.root)
    for name, value in world.pip_environment().items():
        monkeypatch.setenv(name, value)

    def run(*command: str | Path, code: int = 0) -> str:
        result = CliRunner().invoke(app, [str(part) for part in command])
        assert result.exit_code == code, f"{command}: {result.output}"
        return result.output

    return run


@pytest.fixture
def lock_file(world: World, run: Run) -> Path:
    """The lock of the installation, written once."""
    file = world.root / "ops" / "prod.lock.yaml"
    if not file.exists():
        said = run("lock", "--from", world.comfyui, "-o", file)
        assert "1 node packs, Python" in said
        assert "2 packages, 2 models (3.0 MB)" in said
    return file


@pytest.fixture
def made(world: World, run: Run, lock_file: Path) -> Path:
    """A folder that is provisioned from the lock, as it must be again when a test ends."""
    folder = world.root / "made"
    if not folder.exists():
        assert "is what" in run("provision", "--lock", lock_file, "--to", folder)
    return folder


@pytest.fixture
def bare_lock(lock_file: Path) -> Path:
    """The lock without its packages, whose environment is made in no time."""
    document = yaml.safe_load(lock_file.read_text())
    document["python"]["packages"] = {}
    bare = lock_file.with_name("bare.lock.yaml")
    bare.write_text(yaml.safe_dump(document))
    return bare
