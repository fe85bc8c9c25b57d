"""Settings: fleet.yaml and COMFYFLEET_* in frozen groups, documented per field. Nothing else reads the environment.

build.py reads them once and hands each collaborator its group. COMFYFLEET_REDIS__URL=... overrides `redis: {url: ...}`.
A relative path is relative to the file that names it.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from orchestrator.errors import InvalidRequest


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RedisSettings(Group):
    url: str = "embedded"
    """`embedded` starts a redis-server under data_dir; otherwise redis://, rediss:// or unix://."""
    namespace: str = "comfyfleet"
    """Prefix of every key, so that several fleets can share a Redis."""


class StorageSettings(Group):
    kind: Literal["local", "s3"] = "local"
    path: Path | None = None
    """Folder of kind `local`; data_dir/storage when omitted."""
    bucket: str | None = None
    prefix: str = ""
    endpoint: str | None = None
    """S3-compatible servers other than AWS, e.g. http://minio:9000."""
    region: str | None = None

    @model_validator(mode="after")
    def _bucket_for_s3(self) -> StorageSettings:
        if self.kind == "s3" and not self.bucket:
            raise ValueError("storage of kind s3 needs a bucket")
        return self


class AttachedWorker(Group):
    url: str
    """Where a running ComfyUI answers, e.g. http://10.0.0.5:8188."""
    id: str | None = None
    """Derived from the url when omitted."""
    gpu: str | None = None
    """The GPU kind, as in gpu_rates."""
    pool: str = "default"


class LimitSettings(Group):
    max_queued: int = 1_000_000
    """Queued runs beyond which submissions are answered 429 queue_full."""
    max_body_bytes: int = 64 << 20
    """JSON bodies."""
    max_upload_bytes: int = 512 << 20
    """One asset."""


class LeaseSettings(Group):
    worker_s: float = 15.0
    """A worker not heard from for this long is down and its runs go elsewhere."""
    heartbeat_s: float = 3.0
    sweep_s: float = 2.0
    leader_s: float = 5.0
    """A leading controller not heard from for this long is replaced."""


class RetentionSettings(Group):
    jobs_s: float = 7 * 86400.0
    """Ended jobs and their outputs are kept this long."""
    assets_s: float = 30 * 86400.0
    """Uploaded assets are kept this long after their last use."""
    events_s: float = 86400.0
    """A job's events are kept this long after the last one."""
    idempotency_s: float = 86400.0


class SchedulingSettings(Group):
    overtake_s: float = 30.0
    """A run is overtaken only by runs that arrive within this time after it."""
    heads: int = 16
    """Oldest model sets looked at besides the resident ones in one decision."""


class Settings(BaseSettings):
    """The whole of fleet.yaml."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="COMFYFLEET_", env_nested_delimiter="__", env_nested_max_split=1
    )

    listen: str = "127.0.0.1:8200"
    data_dir: Path = Path("./data")
    workflows: Path | None = Path("./workflows")
    """Folder whose *.yaml are registered at start; null for none."""
    redis: RedisSettings = RedisSettings()
    storage: StorageSettings = StorageSettings()
    workers: tuple[AttachedWorker, ...] = ()
    gpu_rates: dict[str, float] = Field(default_factory=dict)
    """Dollars an hour by GPU kind."""
    limits: LimitSettings = LimitSettings()
    leases: LeaseSettings = LeaseSettings()
    retention: RetentionSettings = RetentionSettings()
    scheduling: SchedulingSettings = SchedulingSettings()

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

    @property
    def host_port(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]") or "127.0.0.1", int(port)


def load(path: Path | None) -> Settings:
    """Reads fleet.yaml (None: defaults and environment alone). Raises InvalidRequest naming file and key."""
    document: Any = {}
    if path is not None:
        try:
            document = yaml.safe_load(path.read_text()) or {}
        except OSError as error:
            raise InvalidRequest("config_unreadable", f"cannot read {path}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise InvalidRequest("config_invalid", f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequest(
            "config_invalid", f"{path} must hold a mapping of settings, not a {type(document).__name__}"
        )
    try:
        settings = Settings(**document)
    except ValidationError as error:
        raise InvalidRequest("config_invalid", f"{path or 'environment'}: {_explain(error)}") from error
    return _anchored(settings, (path.parent if path else Path()).resolve())


def _anchored(settings: Settings, folder: Path) -> Settings:
    storage = settings.storage
    if storage.path is not None:
        storage = storage.model_copy(update={"path": folder / storage.path})
    return settings.model_copy(
        update={
            "data_dir": folder / settings.data_dir,
            "workflows": folder / settings.workflows if settings.workflows else None,
            "storage": storage,
        }
    )


def _explain(error: ValidationError) -> str:
    """The first problem as one line that says what to change."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}"
    key = str(first["loc"][-1])
    near = difflib.get_close_matches(key, _known_keys(first["loc"][:-1]), n=1)
    return f"unknown key {where}" + (f"; did you mean {near[0]}?" if near else "")


def _known_keys(parents: tuple[int | str, ...]) -> list[str]:
    groups: dict[str, type[BaseModel]] = {
        "redis": RedisSettings, "storage": StorageSettings, "workers": AttachedWorker, "limits": LimitSettings,
        "leases": LeaseSettings, "retention": RetentionSettings, "scheduling": SchedulingSettings,
    }  # fmt: skip
    model = groups.get(str(parents[0]), Settings) if parents else Settings
    return list(model.model_fields)
