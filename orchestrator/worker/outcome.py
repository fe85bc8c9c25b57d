"""How a run ended on its worker, as one value that is then told to the store."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.domain.job import JobError
from orchestrator.domain.needs import Needs
from orchestrator.errors import FleetError
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
    """It is to be tried again. `free`: it had not begun. `unload`: the worker's memory is to be emptied first."""

    error: JobError
    free: bool = False
    unload: bool = False


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
