"""The images and the compose file, as far as they can be judged without a container engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cli.doctor import DURABLE
from orchestrator.settings import load

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "deploy/compose"
DOCKERFILES = ["controller.Dockerfile", "worker.Dockerfile"]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_linter_finds_nothing(name: str) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, name], cwd=ROOT / "deploy/docker", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_is_there_and_not_ignored(name: str) -> None:
    patterns = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sent = [found for pattern in patterns for found in ROOT.glob(pattern)]
    lines = (ROOT / "deploy/docker" / name).read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from=" not in line]
    assert copied
    for source in (ROOT / word for words in copied for word in words):
        assert any(found.is_relative_to(source) or source.is_relative_to(found) for found in sent), source


def test_redis_keeps_what_was_accepted(services: dict[str, Any]) -> None:
    command = services["redis"]["command"]
    given = dict(zip(command[1::2], command[2::2], strict=True))
    assert given.items() >= {f"--{key}": value for key, value in DURABLE.items()}.items()
    assert services["redis"]["volumes"] == ["redis:/data"]


def test_nothing_is_reached_from_other_machines(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_images_have_versions(services: dict[str, Any]) -> None:
    images = [service["image"] for service in services.values() if "image" in service]
    assert images
    assert all(":" in image and not image.endswith(":latest") for image in images)


def test_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())]
    files = [name for name in mounted if name.startswith(".")]
    assert files
    assert all((COMPOSE / name).exists() for name in files), files


def test_its_fleet_yaml_is_one(monkeypatch: pytest.MonkeyPatch, services: dict[str, Any]) -> None:
    for key in services["controller"]["environment"]:
        monkeypatch.setenv(key, "x")
    for line in (ROOT / "deploy/docker/worker.Dockerfile").read_text().splitlines():
        if "COMFYFLEET_" in line:
            monkeypatch.setenv(*line.strip().removeprefix("ENV ").rstrip(" \\").split("=", 1))
    settings = load(COMPOSE / "fleet.yaml")
    assert settings.redis.url == "redis://redis:6379/0"
    assert (settings.storage.kind, settings.storage.redirect) == ("s3", False)
    assert settings.drain_s < int(services["agent"]["stop_grace_period"].removesuffix("s"))
