"""Node packs' own routes: those that an operator lists are asked of a worker, and read only.

A pack knows nothing of clients, jobs or pools, and who reaches a worker can do there as he likes. So nothing of it is
there unless it is listed; only GET is passed on, with its path and query, and none of the caller's headers; and of the
answer nothing but the body and its type.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence

import aiohttp
from yarl import URL

from orchestrator.domain.worker import Worker, WorkerState
from orchestrator.store.port import Store

log = logging.getLogger(__name__)

ANSWER_MAX = 32 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=20.0, sock_connect=3.0)
_CHUNK = 1 << 16


class NodePacks:
    """`prefixes` are the listed paths, each with a slash at both ends; `agent` is this process's own, if it has one."""

    def __init__(self, store: Store, prefixes: Sequence[str], pool: str, agent: str) -> None:
        self.prefixes = tuple(prefixes)
        self._store = store
        self._pool = pool
        self._agent = agent

    async def ask(self, target: URL) -> tuple[bytes, str] | None:
        """What the first worker that has it answers to GET of that path and query: the body and its Content-Type. None:
        it is not listed, or no worker has it."""
        if not self._is_listed(target.path):
            return None
        workers = await self._store.workers()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=_TIMEOUT) as http:
            for worker in sorted(filter(self._is_asked, workers), key=lambda worker: worker.info.id):
                try:
                    if (found := await _fetched(http, worker.info.url, target)) is not None:
                        return found
                except (aiohttp.ClientError, TimeoutError) as error:
                    log.info("%s does not answer GET %s: %r", worker.info.id, target.path[:200], error)
        return None

    def _is_listed(self, path: str) -> bool:
        return path.startswith(self.prefixes) and not {"..", "."} & set(path.replace("\\", "/").split("/"))

    def _is_asked(self, worker: Worker) -> bool:
        """A loopback address is its agent's own, and what is behind it here is something else."""
        info = worker.info
        near = info.agent == self._agent or not _is_loopback(URL(info.url).host)
        return info.pool == self._pool and worker.state is WorkerState.READY and bool(info.url) and near


async def _fetched(http: aiohttp.ClientSession, base: str, target: URL) -> tuple[bytes, str] | None:
    address = URL(base.rstrip("/") + target.raw_path_qs, encoded=True)
    async with http.get(address, allow_redirects=False) as answer:
        if answer.status != 200:
            return None
        body = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > ANSWER_MAX:
                log.warning("GET %s is not passed on: over %d bytes", target.path[:200], ANSWER_MAX)
                return None
        return bytes(body), answer.headers.get("Content-Type", "application/octet-stream")


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
