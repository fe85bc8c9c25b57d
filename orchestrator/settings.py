"""Settings: fleet.yaml and COMFYFLEET_* in frozen groups, documented per field. Nothing else reads the environment.

build.py reads them once and hands each collaborator its group. COMFYFLEET_REDIS__URL=... overrides `redis: {url: ...}`.
A relative path is relative to the file that names it (a default: as if the file named it; from the environment: to the
working directory). Whatever is wrong is one sentence that names the file, the key and, for a misspelt one, the nearest.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from orchestrator.errors import InvalidRequest
from orchestrator.worker_settings import (
    KINDS,
    AttachedWorker,
    Group,
    PoolName,
    RecycleSettings,
    SupervisedWorker,
    SupervisionSettings,
    TenantName,
    WatchdogSettings,
    WorkerEntry,
    absolute,
    anchored,
    anchored_worker,
)

ENV_PREFIX = "COMFYFLEET_"
_PACK_ROUTE = re.compile(r"/(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)+")
_OUR_ROUTES = frozenset({"api", "editor", "internal", "v1"})
ENV_OF_CLIENTS = frozenset({"COMFYFLEET_URL"})  # read by the commands that talk to a fleet, not by the fleet


class RedisSettings(Group):
    url: str = "embedded"
    """`embedded` starts a redis-server under data_dir; otherwise redis://, rediss:// or unix://."""
    namespace: str = "comfyfleet"
    """Prefix of every key, so that several fleets can share a Redis."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if url != "embedded" and urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ValueError(f"say embedded, or a redis://, rediss:// or unix:// URL, not {url!r}")
        return url


class StorageSettings(Group):
    kind: Literal["local", "s3"] = "local"
    path: Path | None = None
    """Folder of kind `local`; data_dir/storage when omitted."""
    bucket: str | None = None
    prefix: str = ""
    endpoint: str | None = None
    """S3-compatible servers other than AWS, e.g. http://minio:9000."""
    region: str | None = None
    redirect: bool = True
    """Kind `s3`: clients fetch files from the bucket itself, by signed URLs. false: through the controllers, for a
    bucket that clients do not reach."""

    @model_validator(mode="after")
    def _bucket_for_s3(self) -> StorageSettings:
        if self.kind == "s3" and not self.bucket:
            raise ValueError("storage of kind s3 needs a bucket")
        return self


class LimitSettings(Group):
    max_queued: int = Field(default=1_000_000, ge=1)
    """Queued runs beyond which submissions are answered 429 queue_full."""
    max_body_bytes: int = Field(default=16 << 20, ge=1)
    """One JSON body: the largest graphs that people send are a few MiB."""
    max_upload_bytes: int = Field(default=512 << 20, ge=1)
    """One asset."""


class LeaseSettings(Group):
    worker_s: float = 15.0
    """A worker not heard from for this long is down and its runs go elsewhere."""
    heartbeat_s: float = 3.0
    sweep_s: float = Field(default=2.0, gt=0)
    leader_s: float = Field(default=3.0, gt=0)
    """A leading controller not heard from for this long is replaced."""

    @model_validator(mode="after")
    def _heartbeats_fit(self) -> LeaseSettings:
        if not 0 < 2 * self.heartbeat_s < self.worker_s:
            raise ValueError("worker_s must be over twice heartbeat_s, so that one late heartbeat loses no worker")
        return self


class RetentionSettings(Group):
    jobs_s: float = Field(default=7 * 86400.0, ge=0)
    """Ended jobs and their outputs are kept this long."""
    assets_s: float = Field(default=30 * 86400.0, ge=0)
    """Uploaded assets are kept this long after their last use."""
    events_s: float = Field(default=86400.0, ge=0)
    """A job's events are kept this long after the last one."""
    costs_s: float = Field(default=92 * 86400.0, ge=0)
    """Who spent what is known by the hour for this long."""
    idempotency_s: float = Field(default=86400.0, ge=0)


class SchedulingSettings(Group):
    overtake_s: float = Field(default=120.0, ge=0)
    """A run is overtaken only by runs that arrive within this time after it, or whose tenants have had less."""
    heads: int = Field(default=16, ge=1)
    """Oldest model sets looked at besides the resident ones in one decision."""


class PoolSettings(Group):
    """What is kept ready in one pool."""

    warm: tuple[str, ...] = ()
    """Workflows whose models are loaded before a job asks for them, by a run of each that nobody pays for; those that
    matter most first."""
    min_warm: int = Field(default=1, ge=1)
    """On how many workers each of them is warm, as far as their VRAM goes."""


class TenantSettings(Group):
    weight: float = Field(default=1.0, gt=0, le=1000)
    """Share of the fleet beside the weights of the others that have something queued. Who is not named has 1."""


class LogSettings(Group):
    """What is written to stderr."""

    format: Literal["auto", "text", "json"] = "auto"
    """`auto`: text on a terminal, one JSON object a line otherwise."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    verbatim: bool = False
    """Also write what unforeseen exceptions say, which may quote prompts; otherwise a hash and the length of it."""


class TraceSettings(Group):
    """Needs the extra: pip install 'comfyfleet[otel]'."""

    endpoint: str | None = None
    """Base URL of an OTLP collector over HTTP, e.g. http://otel-collector:4318; omitted, nothing is traced."""
    share: float = Field(default=1.0, ge=0, le=1)
    """Of the jobs that come without a trace. Those that bring one go by what it says."""

    @field_validator("endpoint")
    @classmethod
    def _over_http(cls, endpoint: str | None) -> str | None:
        url = urlsplit(endpoint or "http://absent")
        if url.scheme not in ("http", "https") or not url.netloc:
            raise ValueError(f"say the base URL of an OTLP collector, e.g. http://127.0.0.1:4318, not {endpoint!r}")
        return endpoint


class Settings(BaseSettings):
    """The whole of fleet.yaml."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_nested_max_split=1,
    )

    listen: str = "127.0.0.1:8200"
    agent_listen: str | None = None
    """HOST:PORT where `comfyfleet agent` answers /metrics and /healthz; omitted, it listens nowhere. (`up` has both on
    `listen`.)"""
    data_dir: Path = Path("./data")
    secret: SecretStr | None = None
    """Encrypts the keys that jobs bring for partners' nodes. Controllers and agents on several machines need the same
    one; omitted, one is made in data_dir. Best given as COMFYFLEET_SECRET."""
    workflows: Path | None = Path("./workflows")
    """Folder whose *.yaml are registered at start; null for none."""
    redis: RedisSettings = RedisSettings()
    storage: StorageSettings = StorageSettings()
    workers: tuple[WorkerEntry, ...] = ()
    gpu_rates: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = Field(default_factory=dict)
    """Dollars an hour by GPU kind."""
    pools: dict[PoolName, PoolSettings] = Field(default_factory=dict)
    """By name; a pool needs no entry to exist."""
    node_pack_routes: tuple[str, ...] = ()
    """Beginnings of paths, as /easyuse/, that a worker of the default pool is asked for: GET alone, without the
    caller's headers. Everybody may ask. A worker on a loopback address is asked only by the `up` that it belongs to."""
    mirrors: dict[str, str] = Field(default_factory=dict)
    """Where `comfyfleet provision` fetches from: beginning of a git or model address -> what takes its place."""
    limits: LimitSettings = LimitSettings()
    drain_s: float = Field(default=60.0, ge=0)
    """What executes when an agent stops has this long to end. What takes longer is left to its ComfyUI, where the next
    start takes it up again; where that ends as well, as in a container, it begins anew elsewhere."""
    leases: LeaseSettings = LeaseSettings()
    retention: RetentionSettings = RetentionSettings()
    scheduling: SchedulingSettings = SchedulingSettings()
    tenants: dict[TenantName, TenantSettings] = Field(default_factory=dict)
    """Those whose share of the fleet is not the usual one; a job says on whose account it is."""
    supervision: SupervisionSettings = SupervisionSettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    log: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @field_validator("node_pack_routes")
    @classmethod
    def _of_packs(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        for prefix in prefixes:
            if not _PACK_ROUTE.fullmatch(prefix) or prefix.split("/")[1] in _OUR_ROUTES:
                ours = ", ".join(sorted(_OUR_ROUTES))
                raise ValueError(f"say paths of node packs, as /easyuse/ (none of {ours}), not {prefix!r}")
        return prefixes

    @field_validator("listen", "agent_listen")
    @classmethod
    def _host_and_port(cls, listen: str | None) -> str | None:
        port = listen.rpartition(":")[2] if listen is not None else "0"
        if not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"say HOST:PORT, e.g. 127.0.0.1:8200, not {listen!r}")
        return listen

    @model_validator(mode="after")
    def _distinct_workers(self) -> Settings:
        ids = [name for worker in self.workers for name in worker.worker_ids]
        if double := next((name for name in ids if ids.count(name) > 1), None):
            raise ValueError(f"two workers are called {double}; give each ComfyUI one entry, or an id of its own")
        return self


def host_port(listen: str) -> tuple[str, int]:
    """What a `listen` setting says."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)


def load(path: Path | None) -> Settings:
    """Reads fleet.yaml (None: defaults and environment alone). Raises InvalidRequest naming file and key."""
    document = _read(path) if path else {}
    _check_environment(os.environ)
    try:
        settings = Settings(**_anchored(document, path.parent if path else Path()))
    except ValidationError as error:
        raise InvalidRequest("config_invalid", _explain(error, path)) from error
    storage = settings.storage
    return settings.model_copy(
        update={
            "data_dir": settings.data_dir.resolve(),
            "workflows": settings.workflows and settings.workflows.resolve(),
            "storage": storage.model_copy(update={"path": storage.path and storage.path.resolve()}),
            "workers": tuple(absolute(worker) for worker in settings.workers),
        }
    )


def handed_over() -> int | None:
    """The number of the listening socket that systemd keeps for us (see sd_listen_fds(3)), which takes the place of
    `listen`. Raises InvalidRequest for more than one."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if os.environ.get("LISTEN_FDS") != "1":
        raise InvalidRequest(
            "cannot_listen", "systemd hands over more than one socket: give the .socket unit one ListenStream"
        )
    return 3  # SD_LISTEN_FDS_START


def _read(path: Path) -> dict[str, Any]:
    try:
        document: Any = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InvalidRequest("config_unreadable", f"cannot read {path}: {reason}") from error
    except yaml.YAMLError as error:
        raise InvalidRequest("config_invalid", f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise InvalidRequest("config_invalid", f"{path} must hold a mapping of settings, not a {kind}")
    return {str(key): value for key, value in document.items()}


def _anchored(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The document with its paths, and the defaults of those it leaves out, relative to its folder."""
    paths = {key: document.get(key, Settings.model_fields[key].default) for key in ("data_dir", "workflows")}
    found = document | {
        key: anchored(path, folder) if isinstance(path, str | Path) else path for key, path in paths.items()
    }
    workers = document.get("workers")
    if isinstance(workers, list):
        found["workers"] = [anchored_worker(entry, folder) if isinstance(entry, dict) else entry for entry in workers]
    storage = document.get("storage")
    if isinstance(storage, dict) and isinstance(storage.get("path"), str):
        found["storage"] = storage | {"path": anchored(storage["path"], folder)}
    return found


def _check_environment(names: Iterable[str]) -> None:
    """An override with a misspelt name must not be passed over in silence."""
    known = {ENV_PREFIX + key.upper() for key in Settings.model_fields} | ENV_OF_CLIENTS
    for name in names:
        group = name.upper().split("__")[0]
        if name.upper().startswith(ENV_PREFIX) and group not in known:
            hint = _nearest(group, known)
            raise InvalidRequest("config_invalid", f"the environment has {name}, which is no setting{hint}")


def _explain(error: ValidationError, path: Path | None) -> str:
    """The first problem as one line that says what to change, and where."""
    problems = error.errors()
    # A misspelt key explains why another one is missing.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    loc = tuple(part for part in first["loc"] if part not in KINDS)
    variable = ENV_PREFIX + "__".join(str(part).upper() for part in loc)
    source = variable if variable in os.environ else str(path or "environment")
    where = ".".join(str(part) for part in loc)
    if first["type"] == "extra_forbidden":
        return f"{source}: unknown key {where}{_hint(str(loc[-1]), _known_keys(first['loc'][:-1]))}"
    message = _SAID.get(first["type"], first["msg"].removeprefix("Value error, "))
    return f"{source}: {where}: {message}" if where else f"{source}: {message}"


_SAID = {
    "tuple_type": "it has to be a list, e.g. [a, b]",
    "dict_type": "it has to be a mapping of names to values",
    "model_type": "it has to be a mapping of settings",
    "path_type": "it has to be a path, as text",
}
"""What pydantic tells in terms of Python."""


def _hint(key: str, known: Collection[str]) -> str:
    if key in known:
        return ": a worker has url, or comfyui, and this goes with the other one"
    return _nearest(key, known)


def _nearest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _known_keys(parents: tuple[int | str, ...]) -> list[str]:
    groups: dict[str, tuple[type[BaseModel], ...]] = {
        "redis": (RedisSettings,), "storage": (StorageSettings,), "limits": (LimitSettings,),
        "leases": (LeaseSettings,), "retention": (RetentionSettings,), "scheduling": (SchedulingSettings,),
        "tenants": (TenantSettings,),
        "supervision": (SupervisionSettings,), "watchdog": (WatchdogSettings,),
        "attached": (AttachedWorker, SupervisedWorker), "supervised": (SupervisedWorker, AttachedWorker),
        "recycle": (RecycleSettings,), "pools": (PoolSettings,), "log": (LogSettings,),
        "traces": (TraceSettings,),
    }  # fmt: skip
    models = next((groups[str(part)] for part in reversed(parents) if str(part) in groups), (Settings,))
    return [key for model in models for key in model.model_fields]
