"""Workers and runs in Redis, as an agent moves them. Every change is fenced by run, attempt and worker in Lua."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import fields
from functools import partial
from itertools import chain, groupby
from typing import Any

import orjson
from blake3 import blake3

from orchestrator.domain.asset import Output
from orchestrator.domain.event import Event
from orchestrator.domain.job import JobError, Progress
from orchestrator.domain.showing import news
from orchestrator.domain.warmup import Warmed, Warmup
from orchestrator.domain.worker import Residency, WorkerEvent, WorkerInfo, WorkerState
from orchestrator.errors import NotFound, Superseded
from orchestrator.graph.bind import overlaid
from orchestrator.store import codec
from orchestrator.store.database import Database
from orchestrator.store.port import Contents, Duties, Mail, MailKind, Order, Result, RunKey
from orchestrator.store.port.clients import Frame
from orchestrator.store.seal import Seal

_WATCHED = tuple(field.name for field in fields(Output) if field.name not in ("path", "place"))


class RedisRuns:
    """Implements RunStore."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._db = database
        self._keys = database.keys
        self._seal = seal

    async def register(self, info: WorkerInfo) -> Duties:
        rate = "" if info.rate is None else info.rate
        return _duties(
            await self._db.script("register", info.id, codec.dump(info), info.agent, info.pool, info.gpu or "", rate)
        )

    async def heartbeat(self, worker_id: str, epoch: int) -> Duties:
        return _duties(_accepted(await self._db.script("heartbeat", worker_id, epoch), f"worker {worker_id}"))

    async def inspected(self, info: WorkerInfo, epoch: int, object_info: bytes, models: Contents) -> None:
        if info.catalog is None:
            raise ValueError("an inspected worker has the digest of its object_info in info.catalog")
        document = codec.dump_contents(models)
        reply = await self._db.script(
            "inspected", info.id, epoch, codec.dump(info), info.catalog, object_info, _digest(document), document,
            info.lock or "",
        )  # fmt: skip
        _accepted(reply, f"worker {info.id}")

    async def report_residency(self, worker_id: str, epoch: int, residency: Residency) -> None:
        document = codec.dump(codec.residency_document(residency))
        _accepted(await self._db.script("report_residency", worker_id, epoch, document), f"worker {worker_id}")

    async def report_models(self, worker_id: str, epoch: int, models: Contents) -> None:
        document = codec.dump_contents(models)
        reply = await self._db.script("report_models", worker_id, epoch, _digest(document), document)
        _accepted(reply, f"worker {worker_id}")

    async def warmup(self, worker_id: str, warmup_id: str) -> Warmup | None:
        (row,) = await self._db.fetch(("HMGET", self._keys.worker_warmup(worker_id), "id", "document"))
        known, document = row
        return codec.WARMUP.validate_json(document) if known and known.decode() == warmup_id else None

    async def warmed(self, worker_id: str, epoch: int, warmup_id: str, warmed: Warmed, residency: Residency) -> None:
        document = codec.dump(codec.residency_document(residency))
        reply = await self._db.script("warmed", worker_id, epoch, warmup_id, codec.dump(warmed), document)
        _accepted(reply, f"worker {worker_id}")

    async def report_worker(self, worker_id: str, epoch: int, event: WorkerEvent | None, note: str) -> None:
        reply = await self._db.script("report_worker", worker_id, epoch, event.value if event else "", note)
        _accepted(reply, f"worker {worker_id}")

    async def lost_worker(self, worker_id: str, epoch: int, note: str) -> None:
        _accepted(await self._db.script("lose_worker", worker_id, epoch, note), f"worker {worker_id}")

    async def mail(self, agent: str) -> AsyncIterator[Mail]:
        """Mail from now on; what came before, `heartbeat` tells. Goes on after a restart of Redis."""
        key = self._keys.mail(agent)
        (last,) = await self._db.fetch(("XREVRANGE", key, "+", "-", "COUNT", 1))
        async with aclosing(self._db.follow(key, last[0][0] if last else b"0")) as batches:
            async for entries in batches:
                for _, fields in entries:
                    yield Mail(
                        MailKind(fields[b"kind"].decode()),
                        fields[b"worker"].decode(),
                        codec.text(fields[b"run"]) or None,
                        codec.read_files(fields.get(b"files", b"")),
                    )

    async def order(self, run_id: str) -> Order:
        outcome, *rest = await self._db.script("order", run_id)
        if outcome == b"unknown":
            raise NotFound("run_not_found", f"there is no run {run_id}")
        (patch, *row), (spec, created, graph, extra, shown, sealed) = rest
        if spec is None:
            raise NotFound("job_not_found", f"the job of run {run_id} was deleted")
        run = codec.run(run_id, row)
        return Order(
            run,
            codec.spec(spec, created),
            overlaid(orjson.loads(graph), orjson.loads(patch or b"{}")),
            orjson.loads(extra) if extra else {},
            codec.read_outputs(shown),
            partial(self._seal.open, sealed or b"", run.job_id),
        )

    async def start(self, key: RunKey, since_staged_s: float = 0.0) -> None:
        await self._run("start", key, int(since_staged_s * 1000))

    async def progress(self, key: RunKey, progress: Progress) -> None:
        await self._run("progress", key, progress.value, codec.dump(progress))

    async def executed(self, key: RunKey) -> None:
        await self._run("executed", key)

    async def show(self, key: RunKey, visible: Sequence[Output], shown: Sequence[Output]) -> None:
        told = (codec.dump(watched(index, output)) for index, output in news(shown, visible))
        await self._run("show", key, codec.dump(visible), *told)

    async def relay(self, key: RunKey, frames: Sequence[Frame], history: Mapping[str, Any] | None = None) -> None:
        batches = groupby(frames, key=lambda frame: frame.kept)
        told = ((int(kept), codec.dump_frames(key.run_id, batch)) for kept, batch in batches)
        await self._run("relay", key, codec.dump(history) if history else "", *chain.from_iterable(told))

    async def preview(self, job_id: str, event: Event) -> None:
        payload = b" ".join((b"", event.type.value.encode(), codec.dump(event.data)))
        await self._db.fetch(("PUBLISH", self._keys.watch(job_id), payload))

    async def commit(self, key: RunKey, result: Result) -> None:
        residency = codec.residency_document(result.residency)
        data = {"execute_s": result.execute_s, "load_s": result.load_s, "residency": residency}
        await self._run(
            "commit", key, codec.dump(result.outputs), round(result.execute_s * 1000), result.load_s,
            codec.dump(residency), codec.dump(data),
            codec.dump(result.scores), result.scoring_s, codec.dump(result.nodes),
            *(codec.dump(watched(index, output)) for index, output in news(result.shown, result.outputs)),
        )  # fmt: skip

    async def fail(self, key: RunKey, error: JobError) -> None:
        await self._run("fail", key, error.message, codec.dump(error))

    async def retry(
        self, key: RunKey, outcome: str, *, error: JobError, free: bool = False, vram_over: int = 0
    ) -> str | None:
        event = "return" if free else "lose"
        reply = await self._run("retry", key, self._db.new_id(), event, outcome, codec.dump(error), vram_over)
        return reply[1].decode() if reply[0] == b"queued" else None

    async def stopped(self, key: RunKey) -> None:
        await self._run("stopped", key)

    async def _run(self, script: str, key: RunKey, *args: Any) -> list[Any]:
        reply = await self._db.script(script, key.run_id, key.attempt, key.worker, *args)
        return _accepted(reply, f"run {key.run_id} (attempt {key.attempt})")


def _accepted(reply: list[Any], what: str) -> list[Any]:
    if reply[0] == b"superseded":
        state = reply[1].decode() if len(reply) > 1 and reply[1] else "gone"
        raise Superseded("superseded", f"{what} is not yours any more: it is {state}", state=state)
    return reply


def _digest(document: bytes) -> str:
    return blake3(document).hexdigest()


def _duties(reply: list[Any]) -> Duties:
    epoch, runs, canceling, state, *rest = reply
    return Duties(
        int(epoch),
        tuple(run.decode() for run in runs),
        tuple(run.decode() for run in canceling),
        WorkerState(state.decode()),
        codec.residency(rest[0] if rest else None),
    )


def watched(index: int, output: Output) -> dict[str, Any]:
    """An output as its event tells it: where it lies in storage is not the watcher's business."""
    return {"index": index, **{name: getattr(output, name) for name in _WATCHED}}
