"""A ComfyUI process as the operating system has it: found again, measured, ended with all that it started."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.worker.supervisor.process import Process
from tests.fixtures.driving import eventually

# Starts a child in the same group, says so, and waits.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; held = bytearray(50_000_000); time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
Start = Callable[[str], Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    started: list[Process] = []

    async def start(code: str) -> Process:
        with (tmp_path / "log").open("ab") as log:
            command = [sys.executable, "-c", code]
            process = Process.spawn(command, 7000, tmp_path, os.environ, log, tmp_path / "process.json")
        started.append(process)
        return process

    yield start
    for process in started:
        if process.alive:
            process.send(signal.SIGKILL)
            await process.ended()
        process.how_it_ended()


async def child_of(process: Process, log: Path) -> int:
    return int(await eventually(log.read_text, "the child to be started"))


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield path.read_bytes()


async def test_it_and_what_it_started_are_measured_and_ended_together(start: Start, tmp_path: Path) -> None:
    process = await start(PARENT)
    child = await child_of(process, tmp_path / "log")
    assert os.getpgid(child) == process.pid == os.getsid(process.pid)
    await eventually(lambda: process.rss_bytes() > 50_000_000, "the child's memory to be counted")
    assert process.age_s < 60
    process.send(signal.SIGTERM)
    await process.ended()
    assert not process.alive
    assert process.how_it_ended() == "it was ended by signal 15 (Terminated)"
    process.bury()
    await eventually(lambda: not exists(child), "the child to be gone")
    assert not (tmp_path / "process.json").exists()


async def test_one_that_cannot_be_recorded_does_not_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path)]
    with (tmp_path / "log").open("ab") as log, pytest.raises(FileNotFoundError):
        Process.spawn(command, 7000, tmp_path, os.environ, log, tmp_path / "none" / "process.json")
    assert not [line for line in command_lines() if os.fsencode(tmp_path) in line]


async def test_what_a_killed_one_left_behind_is_ended_too(start: Start, tmp_path: Path) -> None:
    process = await start(PARENT)
    child = await child_of(process, tmp_path / "log")
    os.kill(process.pid, signal.SIGKILL)
    await process.ended()
    assert "killed (SIGKILL)" in process.how_it_ended()
    assert exists(child)
    process.bury()
    await eventually(lambda: not exists(child), "the child to be gone")


@pytest.mark.parametrize(("code", "how"), [("raise SystemExit(3)", "it exited with 3"), ("pass", "it exited with 0")])
async def test_how_it_ended(start: Start, code: str, how: str) -> None:
    process = await start(code)
    await process.ended()
    assert process.how_it_ended() == how


async def test_one_that_a_signal_stopped_is_seen_to_be(start: Start) -> None:
    process = await start("import time; time.sleep(60)")
    os.kill(process.pid, signal.SIGSTOP)
    await eventually(lambda: process.halted, "it to be stopped")
    assert process.alive


async def test_it_is_found_by_its_record_and_no_other_is(start: Start, tmp_path: Path) -> None:
    record = tmp_path / "process.json"
    assert Process.find(record) is None
    process = await start("import time; time.sleep(60)")
    process.mark_warm()
    found = Process.find(record)
    assert found is not None
    assert found.record == process.record
    assert found.record.warm
    true = json.loads(record.read_text())
    another = {"command": [sys.executable, "-c", "another"]}
    for lie in ({"started": true["started"] + 1}, {"boot": "another"}, another, {"pid": os.getpid()}, {"odd": 1}):
        record.write_text(json.dumps(true | lie))
        assert Process.find(record) is None, lie
    record.write_text("{")
    assert Process.find(record) is None
    assert process.alive

    os.kill(process.pid, signal.SIGKILL)
    await found.ended()  # one that is not our child is awaited just the same
    record.write_text(json.dumps(true))
    assert Process.find(record) is None
    found.bury()


async def test_when_only_what_it_started_is_left_that_is_ended_by_who_looks_for_it(
    start: Start, tmp_path: Path
) -> None:
    process = await start(PARENT)
    child = await child_of(process, tmp_path / "log")
    os.kill(process.pid, signal.SIGKILL)
    await process.ended()
    process.how_it_ended()  # its agent is gone, and nobody's zombie is left
    await asyncio.sleep(0)
    assert Process.find(tmp_path / "process.json") is None
    await eventually(lambda: not exists(child), "the child to be gone")
