"""Process: one ComfyUI as the operating system has it, with all the processes that it started.

It is in a session of its own and outlives a killed agent, together with the prompts that it executes: the next agent
finds it by its record. Only what bears the recorded start time and command line is taken for it. Needs Linux: /proc.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True)
class Record:
    """What identifies a process: `started` counts clock ticks since the machine's boot. `answered`: it is up. `warm`:
    it is fit for work. `lock`: digest of the lock that it was started from, if any. `worn`: why it is to be replaced.
    """

    pid: int
    started: int
    boot: str
    port: int
    command: tuple[str, ...]
    answered: bool = False
    warm: bool = False
    lock: str = ""
    worn: str = ""


@dataclass(frozen=True, slots=True)
class _Stat:
    """Of /proc/PID/stat."""

    state: str
    group: int
    session: int
    started: int


class Process:
    """Made by `spawn` or `find`; alive until `bury`."""

    def __init__(self, record: Record, path: Path, child: subprocess.Popen[bytes] | None) -> None:
        self.record = record
        self._path = path
        self._child = child
        self._pidfd = os.pidfd_open(record.pid)

    @classmethod
    def spawn(
        cls,
        command: Sequence[str],
        port: int,
        cwd: Path,
        environment: Mapping[str, str],
        log: BinaryIO,
        path: Path,
        lock: str = "",
    ) -> Process:
        """Starts it, and keeps its record at `path`. Raises OSError; then none runs."""
        child = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            stat = _stat(child.pid)
            assert stat is not None  # it is there at least as our zombie
            process = cls(Record(child.pid, stat.started, _boot_id(), port, tuple(command), lock=lock), path, child)
            process._keep_record()
        except OSError:  # a full disk; nobody would ever find it again
            child.kill()
            child.wait()
            raise
        return process

    @classmethod
    def find(cls, path: Path) -> Process | None:
        """The one of an earlier agent, if it still lives. If only processes that it started do, they are ended."""
        try:
            document = json.loads(path.read_text())
            record = Record(**{**document, "command": tuple(document["command"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if record.boot != _boot_id():
            return None
        try:
            process = cls(record, path, None)  # from here on its pid cannot become another's unnoticed
        except ProcessLookupError:
            _end_group(record.pid)
            return None
        if process.alive and _bears(record.pid, record.command):
            return process
        os.close(process._pidfd)
        return None

    @property
    def pid(self) -> int:
        return self.record.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.record.port}"

    @property
    def alive(self) -> bool:
        stat = _stat(self.pid)
        return stat is not None and stat.started == self.record.started and stat.state not in "ZX"

    @property
    def halted(self) -> bool:
        """Stopped by a signal: it is there, and does nothing."""
        stat = _stat(self.pid)
        return stat is not None and stat.state == "T"

    @property
    def age_s(self) -> float:
        uptime_s = float((_PROC / "uptime").read_text().split()[0])
        return uptime_s - self.record.started / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Resident memory, with that of the processes that it started. Reads all of /proc: not for an event loop."""
        return sum(_rss_bytes(pid) for pid in _group(self.pid))

    def mark_answered(self) -> None:
        """So that the next agent knows."""
        self.record = replace(self.record, answered=True)
        self._keep_record()

    def mark_warm(self) -> None:
        """The same."""
        self.record = replace(self.record, warm=True)
        self._keep_record()

    def mark_worn(self, why: str) -> None:
        """The same."""
        self.record = replace(self.record, worn=why)
        self._keep_record()

    async def ended_within(self, seconds: float) -> None:
        """Returns when it has ended, or the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ended()

    async def ended(self) -> None:
        """Returns when it has ended."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(self._pidfd, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(self._pidfd)

    def send(self, number: signal.Signals) -> None:
        """To it and to all that it started."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def how_it_ended(self) -> str:
        """In words, after its end."""
        return "it ended" if self._child is None else _in_words(self._child.wait())

    def bury(self) -> None:
        """After its end: ends what it left behind, and forgets it."""
        self.how_it_ended()
        _end_group(self.pid)
        os.close(self._pidfd)
        self._path.unlink(missing_ok=True)

    def _keep_record(self) -> None:
        partial = self._path.with_suffix(".part")
        partial.write_text(json.dumps(asdict(self.record)))
        partial.replace(self._path)


def free_port() -> int:
    """One of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _in_words(status: int) -> str:
    if status >= 0:
        return f"it exited with {status}"
    if -status == signal.SIGKILL:
        return "it was killed (SIGKILL): by somebody, or by the kernel because memory ran out (see dmesg)"
    return f"it was ended by signal {-status} ({signal.strsignal(-status)})"


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def _stat(pid: int) -> _Stat | None:
    """None: there is no such process."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Stat(fields[0], int(fields[2]), int(fields[3]), int(fields[19]))


def _bears(pid: int, command: tuple[str, ...]) -> bool:
    """Whether its command line is that one, whatever its Python turned out to be (there are scripts that find one)."""
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return raw.endswith(b"\0".join(os.fsencode(part) for part in ("", *command[1:], "")))


def _rss_bytes(pid: int) -> int:
    try:
        for line in (_PROC / str(pid) / "status").read_text(errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it is gone, and holds nothing any more
    return 0


def _group(leader: int) -> Iterator[int]:
    """The processes of a group that is a session of its own."""
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if stat is not None and stat.group == leader and stat.session == leader:
                yield int(entry.name)


def _end_group(leader: int) -> None:
    """Kills what is left of a group whose leader has ended. (As long as there is any, its number is no other's.)"""
    for pid in _group(leader):
        if pid != leader:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
