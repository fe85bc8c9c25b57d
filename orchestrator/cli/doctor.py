"""`doctor`: looks at everything a fleet needs before it is needed, and says in plain words what to do."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import typer
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from orchestrator.cli.console import emit_json, out
from orchestrator.cli.errors import FAILED
from orchestrator.cli.options import AsJson, Config, config_path
from orchestrator.comfy.client import ComfyClient
from orchestrator.comfy.memory import PARTS, MemoryReport
from orchestrator.domain.worker import WorkerEvent
from orchestrator.errors import FleetError
from orchestrator.pins import inventory
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.observe import known_models
from orchestrator.pins.observed import SeenModel
from orchestrator.pins.variants import variants
from orchestrator.settings import Settings, load
from orchestrator.store.embedded import EmbeddedRedis
from orchestrator.worker.drift import lock_of_installed, lock_of_running
from orchestrator.worker.residency import NO_PACK
from orchestrator.worker_settings import AttachedWorker, SupervisedWorker

DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
WHAT_ELSE_MEANS = {
    "appendonly": "a crash of Redis loses every job since its last snapshot",
    "appendfsync": "a crash of its machine loses jobs that were answered 202 already",
    "maxmemory-policy": "a full Redis throws jobs away instead of refusing new ones",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `words` say what is there, or what to do about it."""

    subject: str
    ok: bool
    words: str


Look = tuple[Finding, Mapping[str, SeenModel]]
"""What an entry of `workers:` is, and its models as far as they are known."""

READING_S = 20.0
"""How long a ComfyUI may read models before it is asked another time."""


def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check config, Redis durability, storage and each ComfyUI, and say what to do."""
    path = config_path(config)
    settings = load(path)
    source = str(path) if path else "defaults: there is no fleet.yaml here"
    findings = [Finding("config", True, source), *asyncio.run(_examine(settings))]
    if as_json:
        emit_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark, style = ("ok  ", "green") if finding.ok else ("FIX ", "red")
            out.print(f"[{style}]{mark}[/{style}] [bold]{finding.subject}[/bold]  ", end="")
            out.print(finding.words, markup=False)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(FAILED)


async def _examine(settings: Settings) -> list[Finding]:
    found = [_data_dir(settings), *await _redis(settings), await _storage(settings)]
    if not settings.workers and settings.redis.url == "embedded":
        words = "none: name your ComfyUIs under `workers:` in fleet.yaml, or try comfyfleet up --simulate 2"
        found.append(Finding("workers", False, words))
    elif not settings.workers:
        found.append(Finding("workers", True, "none here: this is a controller's machine, agents elsewhere bring them"))
    looks = await asyncio.gather(
        *(
            _comfyui(entry, settings) if isinstance(entry, AttachedWorker) else _installation(entry, settings)
            for entry in settings.workers
        )
    )
    pools: dict[str, dict[str, Mapping[str, SeenModel]]] = {}
    for entry, (finding, models) in zip(settings.workers, looks, strict=True):
        found.append(finding)
        pools.setdefault(entry.pool, {}).update(dict.fromkeys(entry.worker_ids, models))
    return [*found, *(finding for pool, models in pools.items() for finding in _variants(pool, models))]


def _data_dir(settings: Settings) -> Finding:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.data_dir):
            return Finding("data_dir", True, str(settings.data_dir))
    except OSError as error:
        words = f"cannot write to {settings.data_dir} ({error.strerror}): fix its owner, or set data_dir elsewhere"
        return Finding("data_dir", False, words)


async def _redis(settings: Settings) -> list[Finding]:
    embedded = settings.redis.url == "embedded"
    try:
        async with _redis_url(settings) as url, Redis.from_url(url, socket_timeout=5, decode_responses=True) as redis:
            info: dict[str, Any] = await redis.info("server")
            version = info["redis_version"]
            where = "embedded: comfyfleet up starts its own" if embedded else f"{url} answers"
            return [Finding("redis", True, f"{where}, version {version}"), await _durability(redis)]
    except FleetError as error:
        return [Finding("redis", False, error.message)]
    except (RedisError, OSError) as error:
        words = f"{settings.redis.url} does not answer ({error}): start it, or set redis.url to where it is"
        return [Finding("redis", False, words)]


@asynccontextmanager
async def _redis_url(settings: Settings) -> AsyncIterator[str]:
    """The embedded one is tried in a folder of its own, so that one that serves a fleet right now is left alone."""
    if settings.redis.url != "embedded":
        yield settings.redis.url
        return
    with tempfile.TemporaryDirectory() as folder:
        server = await EmbeddedRedis.start(Path(folder))
        try:
            yield server.url
        finally:
            await server.stop()


async def _durability(redis: Redis) -> Finding:
    try:
        told = [await redis.config_get(key) for key in DURABLE]  # one at a time: older than 7.0 take no more
    except ResponseError:
        wanted = ", ".join(f"{key} {value}" for key, value in DURABLE.items())
        return Finding("durability", True, f"this Redis does not tell its config; see to it that it has {wanted}")
    config = {key: value for answer in told for key, value in answer.items()}
    for key, wanted in DURABLE.items():
        if config.get(key) != wanted:
            words = f"{key} is {config.get(key)}, so that {WHAT_ELSE_MEANS[key]}: CONFIG SET {key} {wanted}"
            return Finding("durability", False, f"{words}, and put it into redis.conf")
    return Finding("durability", True, ", ".join(f"{key} {value}" for key, value in config.items()))


async def _storage(settings: Settings) -> Finding:
    from orchestrator import build

    place = settings.storage.path or settings.data_dir / "storage"
    where = f"folder {place}" if settings.storage.kind == "local" else f"bucket {settings.storage.bucket}"
    key, written = "doctor/probe", b"comfyfleet doctor"
    try:
        storage = build.open_storage(settings)
        try:
            await storage.put(key, written, "text/plain")
            read = b"".join([chunk async for chunk in storage.read(key)])
            await storage.delete(key)
        finally:
            await storage.close()
    except FleetError as error:
        return Finding("storage", False, error.message)
    if read != written:
        return Finding("storage", False, f"{where} answers other bytes than were written there: do not use it")
    return Finding("storage", True, f"{where} takes and gives files")


def _variants(pool: str, models: Mapping[str, Mapping[str, SeenModel]]) -> Iterator[Finding]:
    for name, kinds in variants(models).items():
        told = "; ".join(f"{what} on {', '.join(workers)}" for what, workers in kinds.items())
        words = f"is not the same file on all workers of pool {pool}: {told}. Jobs that name it get one or the other"
        yield Finding(f"model {name}", False, f"{words}: have all the same, or give one another name")


async def _comfyui(worker: AttachedWorker, settings: Settings) -> Look:
    subject = f"worker {worker.worker_id}"
    try:
        async with ComfyClient(worker.url) as comfyui:
            stats = await comfyui.system_stats()
            classes = orjson.loads(await comfyui.object_info())
            models = {name: SeenModel(None, size) for name, size in (await comfyui.model_sizes()).items()}
            document = await comfyui.inventory()
            if document is not None:
                models |= inventory.parse(document).models or {}
            conforms = await _conforms(worker, settings, comfyui)
            memory = await comfyui.memory()
    except FleetError as error:
        return Finding(subject, False, error.message), {}
    words = f"ComfyUI {stats.version} on {stats.device}, {len(classes)} node classes, {len(models)} model files"
    if worker.gpu and worker.gpu not in settings.gpu_rates and settings.gpu_rates:
        return Finding(subject, False, f"{words}; its runs will have no cost: add {worker.gpu} to gpu_rates"), models
    return Finding(subject, True, f"{words}{conforms}; {_eyes(memory)}"), models


def _eyes(memory: MemoryReport | None) -> str:
    """How the fleet knows which of them it holds in memory."""
    if memory is None:
        return f"what it holds is inferred from what it ran: {NO_PACK}"
    why = "; ".join(f"{part}: {memory.unavailable[part]}" for part in PARTS if part in memory.unavailable)
    if not why:
        return "what it holds is measured by its node pack"
    return f"what it holds is measured by its node pack, and inferred where that cannot tell ({why})"


async def _conforms(worker: AttachedWorker, settings: Settings, comfyui: ComfyClient) -> str:
    """Raises Conflict with what differs from its lock."""
    from orchestrator import build

    pinned = build.pinned(settings, worker)
    if pinned is None:
        return ""
    try:
        async with asyncio.timeout(READING_S):
            await lock_of_running(pinned, comfyui, _in_silence)
    except TimeoutError:
        return f"; its models are still being read for the comparison with {pinned.file.name}: ask again"
    return f"; it is what {pinned.file.name} says"


async def _in_silence(_event: WorkerEvent | None, _note: str) -> None:
    """Nobody waits for it in between."""


async def _installation(entry: SupervisedWorker, settings: Settings) -> Look:
    """It is looked at and not started: an agent may be running it right now."""
    from orchestrator import build

    subject = f"workers {', '.join(entry.worker_ids)}"
    try:
        if entry.warmup:
            build.read_warmup(entry.warmup)
        installation = build.installed(entry, entry.devices[0])
        pinned = build.pinned(settings, entry)
        if pinned is not None:
            await lock_of_installed(pinned, installation.directory, installation.python)
        hashes = Hashes(build.table_of_hashes(settings))
        models = await asyncio.to_thread(known_models, installation.directory, hashes)
    except FleetError as error:
        return Finding(subject, False, error.message), {}
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    python = await asyncio.create_subprocess_exec(installation.python, "-c", look)
    if await python.wait():
        words = f"{installation.python} has no torch: set `python:` to the Python that has ComfyUI's packages"
        return Finding(subject, False, words), models
    conforms = f"; it is what {pinned.file.name} says" if pinned else ""
    words = f"ComfyUI in {installation.directory}, run by {installation.python}{conforms}"
    if installation.pack is None:
        eyes = "what it holds is inferred from what it ran: this installation of comfyfleet comes without the node pack"
    else:
        eyes = "what it holds is measured: it is started with the node pack"
    return Finding(subject, True, f"{words}; {eyes}"), models
