"""Bytes in Redis <-> frozen types. Everything that is read back is parsed here, and only here."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from operator import itemgetter
from typing import Any, TypeVar, cast

import orjson
from pydantic import TypeAdapter

from orchestrator.domain.asset import Asset, Output
from orchestrator.domain.event import Event, EventType
from orchestrator.domain.job import Job, JobError, JobSpec, JobStatus, Priority, Progress
from orchestrator.domain.needs import Content, ModelRef, Needs
from orchestrator.domain.outlook import Outlook
from orchestrator.domain.quality import Judgement, Score
from orchestrator.domain.run import QueueEntry, Run, RunState, Timings
from orchestrator.domain.warmup import Warmed, Warmup
from orchestrator.domain.worker import Residency, Worker, WorkerChange, WorkerInfo, WorkerState
from orchestrator.domain.workflow import Workflow
from orchestrator.store.port import Contents, RunEnd
from orchestrator.store.port.clients import Frame, Posted

T = TypeVar("T")

SPEC = TypeAdapter(JobSpec)
OUTPUTS = TypeAdapter(tuple[Output, ...])
ERROR = TypeAdapter(JobError)
PROGRESS = TypeAdapter(Progress)
INFO = TypeAdapter(WorkerInfo)
WORKFLOW = TypeAdapter(Workflow)
ASSET = TypeAdapter(Asset)
WARMUP = TypeAdapter(Warmup)
WARMED = TypeAdapter(Warmed)
SCORES = TypeAdapter(dict[str, Score])
JUDGEMENT = TypeAdapter(Judgement)
OUTLOOK: TypeAdapter[Outlook | None] = TypeAdapter(Outlook | None)

JOB_FIELDS = (
    "spec", "status", "created", "started", "completed", "progress", "outputs", "error", "quality", "ended",
    "shown",
)  # fmt: skip
RUN_FIELDS = (
    "job", "slot", "attempt", "state", "queued", "assigned", "staged", "started", "executed", "ended",
    "worker", "reasons", "outcome", "load_s", "cost", "outputs", "scores", "scoring_s", "lock", "charged",
)  # fmt: skip
WORKER_FIELDS = ("info", "state", "epoch", "residency", "note", "models")


def dump(value: Any) -> bytes:
    """JSON of plain values and dataclasses."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def text(value: bytes | None) -> str | None:
    return value.decode() if value is not None else None


def seconds(ms: bytes | float | None) -> float | None:
    """Unix seconds of the milliseconds that Redis keeps."""
    return float(ms) / 1000 if ms else None


def _optional(adapter: TypeAdapter[T], raw: bytes | None) -> T | None:
    return adapter.validate_json(raw) if raw else None


def spec(raw: bytes, created_ms: bytes) -> JobSpec:
    """The store's clock replaces the submitter's in created_at and deadline_at."""
    return SPEC.validate_json(raw).dated(float(created_ms) / 1000)


def job(fields: list[Any], runs: tuple[Run, ...], queue_position: int | None) -> Job:
    """From JOB_FIELDS."""
    spec_raw, status, created, started, completed, progress, outputs, error, judgement, ended, shown = fields
    now = JobStatus(status.decode())
    done = _optional(PROGRESS, progress)
    return Job(
        spec=spec(spec_raw, created),
        status=now,
        runs=runs,
        started_at=seconds(started),
        completed_at=seconds(completed),
        progress=done.completed() if done and now is JobStatus.SUCCEEDED else done,
        outputs=read_outputs(outputs or shown),
        error=_optional(ERROR, error),
        judgement=_optional(JUDGEMENT, judgement),
        ended=int(ended or 0),
        queue_position=queue_position,
    )


def read_outputs(raw: bytes | None) -> tuple[Output, ...]:
    return OUTPUTS.validate_json(raw) if raw else ()


def dump_posted(value: Posted) -> bytes:
    """But for the extra_data, which a driver is to find without reading all of this."""
    return dump({"prompt": value.prompt, "outputs": value.outputs})


def posted(raw: bytes | None, extra_data: bytes | None, history: bytes | None) -> Posted | None:
    if raw is None:
        return None
    document = orjson.loads(raw)
    return Posted(
        document["prompt"],
        tuple(document["outputs"]),
        orjson.loads(extra_data) if extra_data else {},
        orjson.loads(history) if history else None,
    )


def run(run_id: str, fields: list[Any]) -> Run:
    """From RUN_FIELDS."""
    job_id, slot, attempt, state, queued, assigned, staged, started, executed, ended = fields[:10]
    worker, reasons, outcome, load_s, cost, outputs, scores, scoring_s, lock, charged = fields[10:]
    return Run(
        id=run_id,
        job_id=job_id.decode(),
        slot=int(slot),
        attempt=int(attempt),
        state=RunState(state.decode()),
        timings=Timings(
            queued_at=float(queued) / 1000,
            assigned_at=seconds(assigned),
            staged_at=seconds(staged),
            started_at=seconds(started),
            executed_at=seconds(executed),
            ended_at=seconds(ended),
        ),
        worker=text(worker),
        reasons=orjson.loads(reasons) if reasons else {},
        outcome=text(outcome),
        load_s=float(load_s) if load_s else None,
        charged_s=float(charged or 0) / 1000,
        cost=float(cost) if cost else None,
        outputs=read_outputs(outputs),
        scores=_optional(SCORES, scores) or {},
        scoring_s=float(scoring_s or 0.0),
        lock=text(lock) or None,
    )


def dump_entry(entry: QueueEntry) -> bytes:
    """The part of an entry that no attempt changes."""
    models = [[model.folder, model.name] for model in entry.needs.models]
    return dump(
        [entry.pool, entry.priority, entry.profile, entry.needs.classes, models, entry.tenant, entry.deadline_s]
    )


def entry(
    raw: bytes, run_id: bytes, job_id: bytes, attempt: bytes, arrived: bytes, avoid: bytes | None, vram: bytes | None
) -> QueueEntry:
    """What dump_entry wrote, with what belongs to the attempt."""
    pool, priority, profile, classes, models, tenant, deadline_s = orjson.loads(raw)
    return QueueEntry(
        run_id=run_id.decode(),
        job_id=job_id.decode(),
        attempt=int(attempt),
        pool=pool,
        priority=priority,
        arrived_at=float(arrived) / 1000,
        profile=profile,
        needs=Needs(tuple(classes), tuple(ModelRef(folder, name) for folder, name in models), int(vram or 0)),
        avoid=tuple((avoid or b"").decode().split()),
        tenant=tenant,
        deadline_s=deadline_s,
    )


def residency_document(residency: Residency) -> Mapping[str, Any]:
    """JSON-ready: a ModelRef is written [folder, name]."""
    return {
        "vram": [[model.folder, model.name] for model in residency.vram],
        "ram": [[model.folder, model.name] for model in residency.ram],
        "source": residency.source,
        "sizes": [[model.folder, model.name, size] for model, size in residency.sizes.items()],
        "held": [[model.folder, model.name, size] for model, size in residency.held.items()],
        "why": residency.why,
    }


def residency(raw: bytes | Mapping[str, Any] | None) -> Residency:
    """What residency_document wrote."""
    if not raw:
        return Residency()
    document = orjson.loads(raw) if isinstance(raw, bytes) else raw
    return Residency(
        vram=tuple(ModelRef(folder, name) for folder, name in document["vram"]),
        ram=tuple(ModelRef(folder, name) for folder, name in document["ram"]),
        source=document["source"],
        sizes={ModelRef(folder, name): size for folder, name, size in document["sizes"]},
        held={ModelRef(folder, name): size for folder, name, size in document.get("held", ())},
        why=document.get("why", ""),
    )


def dump_contents(contents: Contents) -> bytes:
    """Equal contents are equal bytes."""
    rows = [(ref.folder, ref.name, *_told(content)) for ref, content in sorted(contents.items(), key=itemgetter(0))]
    return dump(rows)


def _told(content: Content) -> tuple[Any, ...]:
    there = (content.bytes, content.sha256)
    return (*there, True, content.fault) if content.remote else there


def contents(raw: bytes | None) -> Contents:
    """What dump_contents wrote."""
    rows = orjson.loads(raw) if raw else ()
    return {ModelRef(folder, name): Content(*told) for folder, name, *told in rows}


def dump_files(files: Sequence[ModelRef]) -> bytes:
    return dump([[file.folder, file.name] for file in files]) if files else b""


def read_files(raw: bytes) -> tuple[ModelRef, ...]:
    """What dump_files wrote."""
    return tuple(ModelRef(folder, name) for folder, name in orjson.loads(raw)) if raw else ()


def run_end(state: bytes, raw: bytes) -> RunEnd:
    """From what a run's end left for the dispatcher; of one that was not committed that is an empty object."""
    document = orjson.loads(raw)
    return RunEnd(
        RunState(state.decode()),
        document.get("execute_s"),
        document.get("load_s"),
        residency(document["residency"]) if document else None,
    )


def worker(fields: list[Any], runs: list[bytes]) -> Worker:
    """From WORKER_FIELDS."""
    info, state, epoch, resident, note, models = fields
    return Worker(
        info=INFO.validate_json(info),
        state=WorkerState(state.decode()),
        epoch=int(epoch),
        runs=tuple(run_id.decode() for run_id in runs),
        residency=residency(resident),
        note=text(note) or None,
        models=text(models),
    )


def worker_change(entry_id: bytes, fields: Any) -> WorkerChange:
    values = pairs(fields)
    at_ms = int(entry_id.partition(b"-")[0])
    return WorkerChange(at_ms / 1000, WorkerState(values[b"state"].decode()), text(values[b"note"]) or None)


def event(event_id: bytes, kind: bytes, data: bytes) -> Event:
    type_, document = EventType(kind.decode()), orjson.loads(data)
    if type_ is EventType.COMFY:
        document["frames"] = [f if isinstance(f, str) else b64decode(f["base64"]) for f in document["frames"]]
    return Event(type_, document, event_id.decode() or None)


def stream_event(event_id: bytes, fields: Any) -> Event:
    values = pairs(fields)
    return event(event_id, values[b"t"], values[b"d"])


def dump_frames(run_id: str, frames: Iterable[Frame]) -> bytes:
    """The data of a COMFY event, as `event` reads it: what is binary, in base64."""
    told = [f.content if isinstance(f.content, str) else {"base64": b64encode(f.content).decode()} for f in frames]
    return dump({"run": run_id, "frames": told})


def pairs(flat: Any) -> dict[bytes, bytes]:
    """A hash or stream entry, as the client gives it: already a dict, or a flat list."""
    if isinstance(flat, dict):
        return cast(dict[bytes, bytes], flat)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def pool_and_priority(field: bytes) -> tuple[str, Priority]:
    """As `queued` counts them."""
    pool, _, priority = field.decode().rpartition(" ")
    return pool, Priority(priority)


def scored(rows: Any) -> list[tuple[str, int]]:
    """Members and scores of a sorted set, flat or in pairs."""
    if rows and not isinstance(rows[0], tuple | list):
        rows = list(zip(rows[::2], rows[1::2], strict=True))
    return [(member.decode(), int(float(score))) for member, score in rows]


def stream_entries(reply: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of the one stream that XREAD was asked for."""
    if not reply:
        return []
    entries = next(iter(reply.values())) if isinstance(reply, dict) else reply[0][1]
    if entries and isinstance(entries[0], list) and entries[0] and isinstance(entries[0][0], list | tuple):
        entries = entries[0]
    return [(entry_id, pairs(fields)) for entry_id, fields in entries]


def workflow(raw: bytes, version: int) -> Workflow:
    return replace(WORKFLOW.validate_json(raw), version=version)


def dump_workflow(value: Workflow) -> bytes:
    return dump(asdict(value))
