"""How a run ended on its worker, as one value that is then told to the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.domain.job import JobError
from orchestrator.domain.needs import Needs
from orchestrator.domain.worker import WorkerInfo
from orchestrator.errors import FleetError, Retryable
from orchestrator.store.port import Result


@dataclass(frozen=True, slots=True)
class Done:
    """Its outputs are in storage."""

    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """It would fail anywhere."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Lost:
    """It is to be tried again. `free`: it had not begun. `vram_over`: only where there are more bytes of VRAM than
    that. `stale`: the worker has not what it was taken to have."""

    error: JobError
    free: bool = False
    vram_over: int = 0
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Canceled:
    """It does not execute any more."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Somebody else has it by now."""


@dataclass(frozen=True, slots=True)
class Left:
    """Its driver begins anew, and will find it again."""


Outcome = Done | Failed | Lost | Canceled | Dropped | Left


_LACKS = frozenset({"missing_model", "missing_class", "missing_option"})


def lost(error: Retryable, needs: Needs) -> Lost:
    """For a run that its worker would not take, or not do."""
    return Lost(job_error(error, needs), stale=error.code in _LACKS)


def too_large(error: JobError, on_device: bool, worker: WorkerInfo) -> Lost:
    """For a run that was out of memory though nothing else was in it."""
    if not on_device or worker.vram_bytes is None:
        message = f"{error.message}; nothing else was in memory: use a smaller size or batch, or a worker with more"
        return Lost(replace(error, message=message))
    message = (
        f"{error.message}; {worker.id} has {worker.vram_bytes / 2**30:.1f} GiB of VRAM and nothing else was in it: use "
        "a smaller size or batch, or a worker with more"
    )
    details = {**error.details, "vram_bytes": worker.vram_bytes}
    return Lost(replace(error, message=message, details=details), vram_over=worker.vram_bytes)


def figures(outcome: Outcome) -> Mapping[str, str | float]:
    """What a log line tells of it: seconds, and for what went wrong its code and where, never its words."""
    match outcome:
        case Done(result=result):
            return {"execute_s": round(result.execute_s, 3), "load_s": round(result.load_s, 3)}
        case Failed(error=error) | Lost(error=error):
            told = {"error": error.code, "node": error.node_id, "class_type": error.class_type}
            return {key: value for key, value in told.items() if value is not None}
        case _:
            return {}


def job_error(error: FleetError, needs: Needs | None = None) -> JobError:
    """What went wrong as the job will tell it; with the run's needs, also where a missing model is expected."""
    details = dict(error.details)
    told = JobError(
        error.code,
        error.message,
        node_id=details.pop("node_id", None),
        class_type=details.pop("class_type", None),
        details=details,
    )
    if error.code != "missing_model" or needs is None:
        return told
    folders = sorted({model.folder for model in needs.models if model.name == details.get("value")})
    if not folders:
        return told
    expected = f"models/{folders[0]}/{details['value']}"
    return replace(told, message=f"{told.message} (expected as {expected})", details={**details, "expected": expected})
