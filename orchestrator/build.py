"""The wiring: the one place that names the concrete classes and hands each its group of the settings.

Each role is a function that serves until `stop` is set, then ends in order: agents first, so that what executes is
finished while its watchers still see it; then the HTTP server; then what they stood on. Cancelled, it ends at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import Any

import orjson
from prometheus_client import REGISTRY

import orchestrator
from orchestrator.api.agent import create_agent_app
from orchestrator.api.app import create_app
from orchestrator.api.listening import base_url, listen, take_listener
from orchestrator.api.server import serving
from orchestrator.api.services import Services
from orchestrator.controller.catalogs import Catalogs
from orchestrator.controller.dispatcher import Dispatcher
from orchestrator.controller.events import EventHub
from orchestrator.controller.intake import Intake
from orchestrator.controller.judge import Judge
from orchestrator.controller.leadership import Leadership
from orchestrator.controller.metrics import DispatchMetrics
from orchestrator.controller.node_packs import NodePacks
from orchestrator.controller.postings import POOL
from orchestrator.controller.reaper import Reaper
from orchestrator.controller.registry import Registry
from orchestrator.controller.warmer import Warmer
from orchestrator.delivery.local import LocalStorage
from orchestrator.delivery.storage import Storage
from orchestrator.domain.worker import WorkerInfo, WorkerKind
from orchestrator.errors import Busy, InvalidRequest
from orchestrator.graph.parse import parse
from orchestrator.graph.shape import Graph
from orchestrator.graph.stage import asset_ids
from orchestrator.pins.pinned import Pinned, read_lock
from orchestrator.pins.sources import parse_mirrors
from orchestrator.scheduling.policy import Rules
from orchestrator.settings import Settings, TraceSettings
from orchestrator.store.embedded import EmbeddedRedis
from orchestrator.store.redis import RedisStore
from orchestrator.telemetry import traces
from orchestrator.worker.agent import Agent
from orchestrator.worker.host import AttachedHost, Host
from orchestrator.worker.supervisor.demands import Demands
from orchestrator.worker.supervisor.home import Home
from orchestrator.worker.supervisor.host import SupervisedHost
from orchestrator.worker.supervisor.installation import Device, Installation
from orchestrator.worker.supervisor.wear import GB, Limits, staggered
from orchestrator.worker_settings import AttachedWorker, RecycleSettings, SupervisedWorker

log = logging.getLogger(__name__)

AWAY_S = 5.0  # without a Redis there is nobody to give anything back to
AWAY_POLL_S = 0.5

NODE_PACK = Path(orchestrator.__file__).parent.parent / "comfy_nodes"  # beside us in a checkout

Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Shared:
    """What every role stands on."""

    store: RedisStore
    storage: Storage


async def up(settings: Settings, stop: asyncio.Event, announce: Announce) -> None:
    """Controller, agent and, unless the settings name one, a Redis, in this process. `announce` is called with the
    base URL once jobs are taken."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(closing(take_listener(settings.listen)))
        url = settings.redis.url
        if url == "embedded":
            url = await stack.enter_async_context(_embedded_redis(settings))
        shared = await stack.enter_async_context(_shared(settings, url))
        base = await stack.enter_async_context(_controller(settings, shared, listener))
        await stack.enter_async_context(_agent(settings, shared))
        announce(base)
        await stop.wait()


async def controller(settings: Settings, stop: asyncio.Event, announce: Announce) -> None:
    """HTTP, and dispatching while it leads. Raises InvalidRequest when the port is taken, Busy without Redis."""
    with closing(take_listener(settings.listen)) as listener:
        async with _shared(settings, settings.redis.url) as shared, _controller(settings, shared, listener) as base:
            announce(base)
            await stop.wait()


async def agent(settings: Settings, stop: asyncio.Event) -> None:
    """The workers of this node. Raises InvalidRequest when the port of agent_listen is taken, Busy without Redis."""
    async with AsyncExitStack() as stack:
        if settings.agent_listen is not None:
            listener = stack.enter_context(closing(listen(settings.agent_listen)))
            await stack.enter_async_context(serving(create_agent_app(REGISTRY), listener))
        shared = await stack.enter_async_context(_shared(settings, settings.redis.url))
        await stack.enter_async_context(_agent(settings, shared))
        await stop.wait()


def _rules(settings: Settings) -> Rules:
    weights = {name: tenant.weight for name, tenant in settings.tenants.items()}
    return Rules(settings.scheduling.overtake_s, settings.scheduling.heads, weights)


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name."""
    named = settings.storage
    if named.kind == "s3":
        from orchestrator.delivery.s3 import S3Storage  # here, as boto3 takes a while to import

        return S3Storage(str(named.bucket), named.prefix, named.endpoint, named.region, named.redirect)
    return LocalStorage(named.path or settings.data_dir / "storage")


@asynccontextmanager
async def _embedded_redis(settings: Settings) -> AsyncIterator[str]:
    with _only_user(settings.data_dir):
        server = await EmbeddedRedis.start(settings.data_dir)
        try:
            async with _running(server.keep()):
                yield server.url
        finally:
            await server.stop()


@contextmanager
def _only_user(data_dir: Path) -> Iterator[None]:
    """Two with one data_dir would share its Redis, and the first to end would take it away from the other."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "up.lock").open("w")
    except OSError as error:
        message = f"nothing can be kept in {data_dir} ({error.strerror}): set data_dir to a folder of yours"
        raise InvalidRequest("config_invalid", message) from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
        except BlockingIOError:
            raise InvalidRequest(
                "data_dir_in_use", f"another comfyfleet up uses {data_dir}: stop it, or set another data_dir"
            ) from None
        yield


def _secret(settings: Settings) -> bytes:
    """The fleet's; where none is set, one of this data_dir, which the next start finds there."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    kept = settings.data_dir / "secret"
    if not kept.exists():
        with NamedTemporaryFile(dir=settings.data_dir) as file:  # for its owner alone
            file.write(secrets.token_hex(32).encode())
            file.flush()
            with suppress(FileExistsError):  # another process was quicker: its is taken
                os.link(file.name, kept)
    return kept.read_bytes()


@asynccontextmanager
async def _shared(settings: Settings, redis_url: str) -> AsyncIterator[Shared]:
    store = await RedisStore.connect(
        redis_url, settings.redis.namespace, settings.leases, settings.retention, settings.limits, _secret(settings)
    )
    try:
        storage = open_storage(settings)
        try:
            async with _traced(settings.traces):
                yield Shared(store, storage)
        finally:
            await storage.close()
    finally:
        await store.close()


@asynccontextmanager
async def _traced(settings: TraceSettings) -> AsyncIterator[None]:
    """Raises InvalidRequest where there is nothing to trace with."""
    if settings.endpoint is None:
        yield
        return
    try:
        from orchestrator.telemetry import otel  # here, as it is an extra
    except ImportError as error:
        message = f"traces.endpoint needs OpenTelemetry ({error}): pip install 'comfyfleet[otel]'"
        raise InvalidRequest("config_invalid", message) from error
    provider = otel.provider(settings.endpoint, settings.share, _process_name())
    try:
        with traces.told_to(otel.OtelTracer(provider)):
            yield
    finally:
        await asyncio.to_thread(otel.close, provider)


@asynccontextmanager
async def _controller(settings: Settings, shared: Shared, listener: socket.socket) -> AsyncIterator[str]:
    """Yields the base URL."""
    store, storage = shared.store, shared.storage
    catalogs = Catalogs(store)
    registry = Registry(store, catalogs)
    await _load_workflows(settings, registry)
    events = EventHub(store)
    node_packs = NodePacks(store, settings.node_pack_routes, POOL, _process_name())
    services = Services(
        store, registry, Intake(store, registry, catalogs), catalogs, events, storage, node_packs,
        settings.data_dir / "users",
    )  # fmt: skip
    leadership = Leadership(store, _process_name(), settings.leases)
    warmer = Warmer(store, registry, catalogs, settings.pools)
    dispatcher = Dispatcher(store, leadership, _rules(settings), DispatchMetrics(REGISTRY), warmer)
    judge = Judge(store, leadership)
    reaper = Reaper(store, storage, leadership, settings.leases, settings.retention)
    app = create_app(services, settings.limits, settings.retention)
    parts = (events, leadership, dispatcher, judge, reaper)
    async with serving(app, listener), _running(*(part.run() for part in parts)):
        yield base_url(listener)


@asynccontextmanager
async def _agent(settings: Settings, shared: Shared) -> AsyncIterator[None]:
    name = _process_name()
    hosts = list(_hosts(settings, name))
    if not hosts:
        log.warning("no workers: jobs wait until an agent brings some; see `workers:` of fleet.yaml")
    agent = Agent(name, shared.store, shared.storage, hosts, settings.leases, settings.watchdog)
    try:
        async with _running(agent.run()):
            yield
            await _drained(agent, shared.store, settings.drain_s)
    finally:
        for host in hosts:
            if isinstance(host, SupervisedHost) and host.pid is not None:
                log.warning("%s: process %d goes on: the next start takes it over", host.info.id, host.pid)


async def _drained(agent: Agent, store: RedisStore, patience_s: float) -> None:
    """Returns when it is, or when waiting any longer makes no sense."""
    draining = asyncio.create_task(agent.drain())
    away = asyncio.create_task(_away(store))
    try:
        done, _ = await asyncio.wait((draining, away), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        if draining not in done:
            why = "Redis is away" if away in done else f"something executes for more than {patience_s:.0f} s"
            log.warning("not drained: %s. The next start goes on with what is left", why)
        else:
            draining.result()
    finally:
        for task in (draining, away):
            task.cancel()
        await asyncio.wait((draining, away))


async def _away(store: RedisStore) -> None:
    """Returns when the store has not answered for AWAY_S."""
    answered = monotonic()
    while monotonic() - answered < AWAY_S:
        with suppress(Busy, TimeoutError):
            async with asyncio.timeout(AWAY_S):
                await store.ping()
                answered = monotonic()
        await asyncio.sleep(AWAY_POLL_S)


@asynccontextmanager
async def _running(*services: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs them beside the body. The first that fails ends the body, and its failure is raised."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service) for service in services]
        yield
        for task in tasks:
            task.cancel()


async def _load_workflows(settings: Settings, registry: Registry) -> None:
    if settings.workflows is None:
        return
    loaded = await registry.load_folder(settings.workflows)
    for refusal in loaded.refused:
        log.warning("workflow not registered: %s", refusal.message)
    log.info("%d workflows from %s", len(loaded.workflows), settings.workflows)


def _hosts(settings: Settings, agent: str) -> Iterator[Host]:
    """Raises InvalidRequest for what cannot be started, or is another comfyfleet's already."""
    for entry in settings.workers:
        rate = settings.gpu_rates.get(entry.gpu) if entry.gpu else None
        if isinstance(entry, AttachedWorker):
            info = WorkerInfo(entry.worker_id, entry.url, entry.pool, agent, gpu=entry.gpu, rate=rate)
            yield AttachedHost(info, pinned(settings, entry))
            continue
        warmup = read_warmup(entry.warmup) if entry.warmup else None
        pins = pinned(settings, entry)
        for worker_id, device in zip(entry.worker_ids, entry.devices, strict=True):
            info = WorkerInfo(worker_id, "", entry.pool, agent, WorkerKind.SUPERVISED, entry.gpu, rate)
            home = _home(settings, entry, worker_id)
            limits = staggered(_limits(entry.recycle), worker_id)
            demands = Demands(entry.required_classes, warmup, pins, limits)
            yield SupervisedHost(info, installed(entry, device), home, demands, settings.supervision)


def installed(entry: SupervisedWorker, device: Device) -> Installation:
    """The ComfyUI of an entry, for one of its devices. Raises InvalidRequest where there is none."""
    pack = NODE_PACK if NODE_PACK.is_dir() else None
    return Installation.find(
        entry.comfyui, entry.python, device, args=entry.args, keep_metadata=entry.keep_metadata, pack=pack
    )


def pinned(settings: Settings, entry: AttachedWorker | SupervisedWorker) -> Pinned | None:
    """What holds the entry's workers against their lock, if they have one. Raises InvalidRequest for what is none."""
    if entry.lock is None:
        return None
    try:
        read_lock(entry.lock)
    except InvalidRequest as error:
        raise InvalidRequest("config_invalid", f"lock: {error.message}") from error
    return Pinned(entry.lock, table_of_hashes(settings), parse_mirrors(settings.mirrors))


def table_of_hashes(settings: Settings) -> Path:
    """Where the digests of models on this machine are kept."""
    return settings.data_dir / "models" / "hashes.json"


def read_warmup(path: Path) -> Graph:
    """Raises InvalidRequest for what is not a graph that needs no files."""
    try:
        graph = parse(orjson.loads(path.read_bytes()))
    except (OSError, orjson.JSONDecodeError) as error:
        raise InvalidRequest("config_invalid", f"warmup: {path} cannot be read: {error}") from error
    except InvalidRequest as error:
        raise InvalidRequest("config_invalid", f"warmup: {path} is no graph in API format: {error.message}") from error
    if asset_ids(graph):
        raise InvalidRequest("config_invalid", f"warmup: {path} wants uploaded files: use nodes that make their own")
    return graph


def _home(settings: Settings, entry: SupervisedWorker, worker_id: str) -> Home:
    folder = settings.data_dir / "workers" / worker_id
    home = Home(folder, (entry.logs or folder) / f"{worker_id}.log")
    home.claim()
    return home


def _limits(recycle: RecycleSettings) -> Limits:
    return Limits(None if recycle.rss_gb is None else recycle.rss_gb * GB, recycle.runs, recycle.age_s)


def _process_name() -> str:
    """Tells controllers and agents apart, on one machine and on many."""
    return f"{socket.gethostname()}-{os.getpid()}"
