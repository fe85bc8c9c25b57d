"""The systemd units: checked by systemd's own tools where they are, and their commands really run, as systemd would."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.cli.bench.workload import long
from orchestrator.cli.client import FleetClient
from orchestrator.settings import Settings
from tests.fixtures.up import has, until

UNITS = Path(__file__).parents[3] / "deploy/systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
MOST_EXPOSED = "25"  # tenths: 2.5 of 10
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on PATH (Debian: apt-get install systemd)"
)
# What systemd does for a service with a .socket: that as its descriptor 3.
HANDED_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


class Unit:
    """A unit file, with the places that it names moved to a folder of the test."""

    def __init__(self, name: str, machine: Path) -> None:
        self.text = (
            (UNITS / name)
            .read_text()
            .replace("/opt/comfyfleet/bin/comfyfleet", str(Path(sys.executable).parent / "comfyfleet"))
            .replace("/etc/comfyfleet", str(machine / "etc"))
            .replace("/var/lib/comfyfleet", str(machine / "state"))
        )

    def value(self, key: str) -> str:
        found = re.search(rf"^{key}=(.*)$", self.text, re.MULTILINE)
        assert found, key
        return found[1]

    async def start(self, listener: socket.socket | None = None) -> asyncio.subprocess.Process:
        command = shlex.split(self.value("ExecStart"))
        environment = dict(word.split("=", 1) for word in shlex.split(self.value("Environment")))
        inherited = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
        if listener is not None:
            command = [sys.executable, "-c", HANDED_OVER, str(listener.fileno()), *command]
        return await asyncio.create_subprocess_exec(
            *command, env=inherited | environment, cwd=self.value("WorkingDirectory"), stdout=asyncio.subprocess.PIPE,
            pass_fds=[listener.fileno()] if listener else [],
        )  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "state").mkdir()
    return tmp_path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening


@needs_systemd
def test_systemd_takes_them(machine: Path) -> None:
    names = [path.name for path in sorted(UNITS.glob("*.s*")) if path.suffix in (".service", ".socket")]
    for name in names:
        (machine / name).write_text(Unit(name, machine).text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *names], cwd=machine, capture_output=True, text=True, check=False
    )
    about_ours = [line for line in done.stderr.splitlines() if "comfyfleet" in line]
    assert (done.returncode, about_ours) == (0, [])


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_they_are_hardened(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", name]
    done = subprocess.run(command, cwd=UNITS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


@pytest.mark.parametrize("name", ["comfyfleet-up.service", "comfyfleet-agent.service"])
def test_a_drain_has_the_time_that_it_needs(name: str, machine: Path) -> None:
    assert int(Unit(name, machine).value("TimeoutStopSec")) > Settings.model_fields["drain_s"].default


async def test_a_job_goes_through_the_controller_and_the_agent_of_the_units(
    machine: Path, listener: socket.socket, sim_process, redis_url: str, namespace: str
) -> None:
    comfyui = await sim_process(step_seconds=0.2)
    redis = {"url": redis_url, "namespace": namespace}
    config = {"redis": redis, "workers": [{"url": comfyui.url}], "drain_s": 0.2}
    (machine / "etc/fleet.yaml").write_text(json.dumps(config))
    controller = await Unit("comfyfleet-controller.service", machine).start(listener)
    agent = await Unit("comfyfleet-agent.service", machine).start()
    async with FleetClient(f"http://127.0.0.1:{listener.getsockname()[1]}") as fleet:
        await fleet.post("/v1/jobs", {"workflow": GRAPH})
        await until(lambda: has(fleet, "succeeded", 1), "the job to succeed")
        await fleet.post("/v1/jobs", {"workflow": long(steps=1000, seed=1)})
        await until(lambda: has(fleet, "running", 1), "a job of minutes to run")
        assert await ended(agent) == 0  # it waits for drain_s, and not for the job
    assert await ended(controller) == 0
    assert {path.name for path in (machine / "state").iterdir()} >= {"secret", "storage"}  # nothing is kept elsewhere


async def ended(process: asyncio.subprocess.Process) -> int:
    process.terminate()
    async with asyncio.timeout(Settings.model_fields["drain_s"].default):
        return await process.wait()
