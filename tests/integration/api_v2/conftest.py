"""Comfy's own clients, unmodified, at two doors: a fleet of two simulated ComfyUIs, and, as the yardstick, the official
comfy-api-proxy in front of one. All in processes of their own, started once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from comfy_sdk import Comfy, JobFailed

from tests.fixtures.comfyui import CHILD

STEP_S = 0.02
PROXY = (sys.executable, "-m", "orchestrator.cli.bench.yardstick")


@dataclass(frozen=True)
class Door:
    """Where clients of the Comfy API v2 are served."""

    name: str
    url: str

    def needs(self, what: str) -> None:
        """Skips the test where the yardstick cannot answer."""
        if self.name == "proxy":
            pytest.skip(f"comfy-api-proxy has no {what}")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """The yardstick takes a job for lost that it looks for as ComfyUI moves it from its queue to its history."""
    try:
        return (yield)
    except (JobFailed, AssertionError) as error:
        if "[proxy" in pyfuncitem.name and "expired" in str(error):
            pytest.skip("comfy-api-proxy said of a job that had just ended that it had expired")
        raise


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen[str]

    def kill(self) -> None:
        """As kill -9 does: nothing is said to anybody."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with its standard input."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()
        process.stdout.close()


@contextmanager
def served(*command: str, **options: Any) -> Iterator[Server]:
    """One that prints where it is ready."""
    with running(*command, **options) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready http://"), f"no ready line but {line!r}, exit {process.poll()}"
        yield Server(line.split()[1], process)


@contextmanager
def simulated(**config: Any) -> Iterator[Server]:
    with served(sys.executable, "-c", CHILD, json.dumps([0, config])) as server:
        yield server


def configured(folder: Path, **settings: Any) -> str:
    """The path of a fleet.yaml."""
    config = folder / "fleet.yaml"
    config.write_text(json.dumps({"data_dir": "data", "workflows": None, "listen": "127.0.0.1:0"} | settings))
    return str(config)


def entry(name: str, comfyui: Server) -> dict[str, str]:
    """A worker of fleet.yaml."""
    return {"id": name, "url": comfyui.url}


@pytest.fixture(scope="session")
def fleet_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ExitStack() as stack:
        workers = [entry(name, stack.enter_context(simulated(step_seconds=STEP_S))) for name in "ab"]
        config = configured(tmp_path_factory.mktemp("fleet"), workers=workers)
        yield stack.enter_context(served(sys.executable, "-m", "orchestrator", "up", "--config", config)).url


@pytest.fixture(scope="session")
def proxy_url() -> Iterator[str]:
    with simulated(step_seconds=STEP_S) as comfyui, served(*PROXY, comfyui.url) as proxy:
        yield proxy.url


@pytest.fixture(params=["fleet", "proxy"])
def door(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Door:
    url = request.getfixturevalue(f"{request.param}_url")
    monkeypatch.setenv("COMFY_BASE_URL", url)
    return Door(request.param, url)


@pytest.fixture
def fleet(fleet_url: str, monkeypatch: pytest.MonkeyPatch) -> Door:
    monkeypatch.setenv("COMFY_BASE_URL", fleet_url)
    return Door("fleet", fleet_url)


@pytest.fixture
def comfy(door: Door) -> Iterator[Comfy]:
    with Comfy() as client:
        yield client
