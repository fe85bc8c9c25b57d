"""What fleet.yaml says of workers: entries of two kinds, and how they are looked after."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

KINDS = ("attached", "supervised")
"""What pydantic puts between a worker's number and its key when it tells where a mistake is."""

_PATHS = ("comfyui", "python", "lock", "warmup", "logs")


WorkerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=100)]
PoolName = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")]
TenantName = PoolName
"""As jobs and workflows may name them."""


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AttachedWorker(Group):
    url: str
    """Where a running ComfyUI answers, e.g. http://10.0.0.5:8188."""
    id: WorkerName | None = None
    """Derived from the url when omitted."""
    gpu: str | None = None
    """The GPU kind, as in gpu_rates."""
    pool: PoolName = "default"
    lock: Path | None = None
    """What it has to be made of (comfyfleet lock), or it is given no runs. It needs comfyfleet's node pack to tell."""

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:  # port raises, out of range
            raise ValueError(f"say where ComfyUI answers, e.g. http://127.0.0.1:8188, not {url!r}")
        return url.rstrip("/")

    @property
    def worker_id(self) -> str:
        """The given id, else host-port: http://10.0.0.5:8188 is 10.0.0.5-8188."""
        return self.id or re.sub(r"[^A-Za-z0-9.]+", "-", self.url.split("://", 1)[1]).strip("-")

    @property
    def worker_ids(self) -> tuple[str, ...]:
        return (self.worker_id,)


class RecycleSettings(Group):
    """When a supervised ComfyUI is replaced by a fresh one, as soon as what it executes is done. None: never."""

    rss_gb: float | None = Field(default=None, gt=0)
    """Resident memory of all its processes together, in GB (10^9 bytes), once it has run something."""
    runs: int | None = Field(default=None, ge=1)
    """How many it has executed."""
    age_s: float | None = Field(default=None, gt=0)
    """Seconds since its start. Each worker goes up to a tenth of it sooner, how much follows from its id: workers that
    were started together are not away together."""


class SupervisedWorker(Group):
    """A ComfyUI that is installed here: started, watched and replaced by the agent, one process a device."""

    comfyui: Path
    """The folder that holds its main.py."""
    python: Path | None = None
    """The Python that has its packages; .venv or venv of that folder, else the one that runs comfyfleet."""
    devices: tuple[int | Literal["cpu"], ...] = Field(default=(0,), min_length=1)
    """GPUs as nvidia-smi numbers them, or cpu, which may be there more than once."""
    args: tuple[str, ...] = ()
    """More of its command line, e.g. [--reserve-vram, "1"]."""
    pool: PoolName = "default"
    gpu: str | None = None
    """The GPU kind, as in gpu_rates."""
    id: WorkerName | None = None
    """What the workers are called after, e.g. node7: node7-gpu0, node7-gpu1. The name of this machine when omitted."""
    lock: Path | None = None
    """What it has to be made of (comfyfleet lock): compared before each start, and what differs is not started."""
    keep_metadata: bool = False
    """Have ComfyUI write the graph into the files that it saves."""
    required_classes: tuple[str, ...] = ()
    """Node classes without which it is not ready: a node pack whose import fails leaves a ComfyUI that starts."""
    warmup: Path | None = None
    """A graph in API format that is executed once before it is ready, e.g. ops/warmup.api.json."""
    recycle: RecycleSettings = RecycleSettings()
    logs: Path | None = None
    """Folder of its log, WORKER.log; that of the worker in data_dir when omitted."""

    @field_validator("devices", mode="before")
    @classmethod
    def _devices_are_a_list(cls, devices: Any) -> Any:
        if not isinstance(devices, list | tuple) or any(not _is_device(each) for each in devices):
            raise ValueError(f"say GPUs by number, or cpu, as a list, e.g. [0, 1] or [cpu], not {devices!r}")
        return devices

    @field_validator("args")
    @classmethod
    def _args_are_not_ours(cls, args: tuple[str, ...]) -> tuple[str, ...]:
        for flag in (arg.partition("=")[0] for arg in args):
            if instead := _OUR_FLAGS.get(flag):
                raise ValueError(f"{flag} is set by comfyfleet: {instead}")
        return args

    @property
    def worker_ids(self) -> tuple[str, ...]:
        """One a device, unique on this machine as long as entries that share a device have ids."""
        prefix = self.id or re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname())
        earlier = (self.devices[:number].count("cpu") for number in range(len(self.devices)))
        return tuple(
            f"{prefix}-cpu{count}" if device == "cpu" else f"{prefix}-gpu{device}"
            for device, count in zip(self.devices, earlier, strict=True)
        )


_OUR_FLAGS = {
    "--listen": "supervised workers answer on 127.0.0.1 alone",
    "--port": "it picks a free one",
    "--cpu": "say `devices: [cpu]`",
    "--cuda-device": "say `devices: [N]`",
    "--disable-metadata": "say `keep_metadata: true` to have it",
    "--input-directory": "each worker has one of its own",
    "--output-directory": "each worker has one of its own",
    "--temp-directory": "each worker has one of its own",
    "--user-directory": "each worker has one of its own",
    "--database-url": "each worker has one of its own",
    "--tls-keyfile": "it is reached over loopback",
    "--tls-certfile": "it is reached over loopback",
}


def _is_device(value: Any) -> bool:
    return value == "cpu" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _kind(entry: Any) -> str:
    if isinstance(entry, SupervisedWorker) or (isinstance(entry, dict) and "comfyui" in entry):
        return "supervised"
    return "attached"


WorkerEntry = Annotated[
    Annotated[AttachedWorker, Tag("attached")] | Annotated[SupervisedWorker, Tag("supervised")],
    Discriminator(_kind),
]


class SupervisionSettings(Group):
    """How supervised workers are looked after."""

    boot_s: float = Field(default=600.0, gt=0)
    """A ComfyUI that does not answer this long after its start is killed; many node packs take minutes."""
    stop_s: float = Field(default=10.0, gt=0)
    """What it has for ending by itself before it is killed."""
    quarantine_failures: int = Field(default=5, ge=1)
    """This many failures within quarantine_window_s, and it is started no more until an operator resumes it."""
    quarantine_window_s: float = Field(default=1800.0, gt=0)
    min_free_gb: float = Field(default=2.0, ge=0)
    """Below this much free space (GB, 10^9 bytes) for its files it takes no more runs. No model is fetched into it."""


class WatchdogSettings(Group):
    """How long a run may give no sign of progress before its ComfyUI counts as hung."""

    step_s: float = Field(default=60.0, gt=0)
    """Between two steps of a sampler, or five times its slowest step so far if that is longer."""
    node_s: float = Field(default=600.0, gt=0)
    """Of a node that tells no steps, or has not begun them: it may be loading models, which was seen to take 400 s."""


def anchored(path: str | Path, folder: Path) -> Path:
    """A path that a file in this folder names; ~ is the home of the user."""
    return folder / os.path.expanduser(path)  # noqa: PTH111, pathlib raises for a ~ that is no user


def anchored_worker(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    return entry | {key: anchored(entry[key], folder) for key in _PATHS if isinstance(entry.get(key), str)}


def absolute(worker: AttachedWorker | SupervisedWorker) -> AttachedWorker | SupervisedWorker:
    """Links are not followed: a Python is that of its virtual environment because of where it is called."""
    given = {key: path.absolute() for key in _PATHS if (path := getattr(worker, key, None))}
    return worker.model_copy(update=given)
