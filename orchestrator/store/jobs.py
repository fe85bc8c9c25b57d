"""Jobs in Redis: what the controller asks about them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from orchestrator.domain.event import Event
from orchestrator.domain.job import Job, JobStatus, Origin
from orchestrator.errors import Busy, Conflict, InvalidRequest, NotFound
from orchestrator.store import codec
from orchestrator.store.database import Database
from orchestrator.store.port import Counts, Graph, Idempotency, JobPage, JobQuery, Submission, Submitted
from orchestrator.store.port.clients import Posted, owners
from orchestrator.store.seal import Seal
from orchestrator.store.watch import RedisWatch

_MILLISECONDS = re.compile(r"[0-9]{1,15}")
_EXECUTING = (JobStatus.RUNNING, JobStatus.CANCELING)
PAGE = 200  # jobs that are read in one go
SCAN_PAGES = 40  # how many pages a filtered list reads before it answers with what it has and a cursor


class RedisJobs:
    """Implements JobStore."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._db = database
        self._keys = database.keys
        self._seal = seal

    async def submit(self, submission: Submission) -> Submitted:
        spec, idempotency = submission.spec, submission.idempotency
        deadline_in = int((spec.deadline_at - spec.created_at) * 1000) if spec.deadline_at is not None else ""
        outcome, *rest = await self._db.script(
            "submit", spec.id, submission.entry.run_id, codec.dump(spec), codec.dump(submission.graph),
            codec.dump_entry(submission.entry), spec.pool, spec.priority.value, spec.workflow or "",
            spec.version if submission.if_active and spec.version is not None else "",
            idempotency.key if idempotency else "", idempotency.fingerprint if idempotency else "",
            deadline_in, spec.retries, "1" if spec.gate else "",
            *_origin(spec.origin, submission.posted), self._seal.close(submission.secrets, spec.id),
            *(part for patch in submission.candidates for part in (self._db.new_id(), codec.dump(patch))),
        )  # fmt: skip
        match outcome:
            case b"ok":
                return Submitted(spec.id, created=True, created_at=codec.seconds(rest[1]))
            case b"duplicate":
                made = rest[0].decode()
                return Submitted(made, created=made == spec.id)
            case b"reused":
                raise _reused(idempotency, rest[0].decode())
            case b"moved":
                raise Conflict(
                    "workflow_moved", f"version {spec.version} of {spec.workflow} is not the active one any more"
                )
            case b"full":
                raise Busy("queue_full", f"the queue holds {rest[0]} runs, which is its limit: try again later", 5.0)
            case _:
                raise Conflict("job_exists", f"there is a job {spec.id} already: choose another id", job=spec.id)

    async def submitted(self, idempotency: Idempotency) -> str | None:
        (seen,) = await self._db.fetch(("GET", self._keys.idempotency(idempotency.key)))
        if seen is None:
            return None
        fingerprint, made = seen.decode().split(" ")
        if fingerprint != idempotency.fingerprint:
            raise _reused(idempotency, made)
        return made

    async def job(self, job_id: str) -> Job:
        (found,) = await self._read([job_id])
        if found is None:
            raise _no_job(job_id)
        return found

    async def jobs(self, query: JobQuery) -> JobPage:
        found: list[Job] = []
        cursor = query.cursor
        for _ in range(SCAN_PAGES):
            ids, cursor = await self._page(query, cursor, query.limit - len(found))
            found += [job for job in await self._read(ids) if job is not None and _matches(job, query)]
            if cursor is None or len(found) >= query.limit:
                break
        return JobPage(tuple(found), cursor)

    async def graph(self, job_id: str) -> Graph:
        (raw,) = await self._db.fetch(("HGET", self._keys.job(job_id), "graph"))
        if raw is None:
            raise _no_job(job_id)
        return orjson.loads(raw)

    async def cancel(self, job_id: str) -> Job:
        (outcome,) = await self._db.script("cancel", job_id)
        if outcome == b"unknown":
            raise NotFound("job_not_found", f"there is no job {job_id} to cancel")
        return await self.job(job_id)

    async def events(self, topic: str, after: str | None = None) -> Sequence[Event]:
        start = f"({after}" if after else "-"
        (entries,) = await self._db.fetch(("XRANGE", self._keys.events(topic), start, "+"))
        return [codec.stream_event(event_id, fields) for event_id, fields in entries]

    async def last_event(self, job_id: str) -> str | None:
        (newest,) = await self._db.fetch(("XREVRANGE", self._keys.events(job_id), "+", "-", "COUNT", 1))
        return newest[0][0].decode() if newest else None

    async def watch(self) -> RedisWatch:
        return RedisWatch(self._db)

    async def ended_between(self, since: float, until: float) -> AsyncIterator[Sequence[Job]]:
        first, last = int(since * 1000), f"({int(until * 1000)}"
        (ids,) = await self._db.fetch(("ZRANGEBYSCORE", self._keys.single("ended"), first, last))
        for start in range(0, len(ids), PAGE):
            page = [job_id.decode() for job_id in ids[start : start + PAGE]]
            yield [job for job in await self._read(page) if job]

    async def counts(self) -> Counts:
        statuses = list(JobStatus)
        *by_status, depth, gone = await self._db.fetch(
            *(("ZCARD", self._keys.jobs(status=status)) for status in statuses),
            ("HGETALL", self._keys.single("queued")),
            ("HGETALL", self._keys.single("count:ended")),
        )
        queued = {codec.pool_and_priority(field): int(count) for field, count in codec.pairs(depth).items()}
        heads = await self._db.fetch(*(("ZRANGE", self._keys.queue(*it), 0, 0, "WITHSCORES") for it in queued))
        oldest = {it: codec.scored(head)[0][1] / 1000 for it, head in zip(queued, heads, strict=True) if head}
        ended = {_ended_key(field): int(count) for field, count in codec.pairs(gone).items()}
        return Counts(dict(zip(statuses, by_status, strict=True)), queued, oldest, ended)

    async def _page(self, query: JobQuery, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
        """Ids newest first. A cursor is "CREATED_MS:ID" of the last one seen."""
        key = self._index(query)
        if cursor is None:
            top, last, ties = "+inf", None, 0
        else:
            top, _, last = cursor.partition(":")
            if not _MILLISECONDS.fullmatch(top):
                raise InvalidRequest("invalid_cursor", "cursor must be the next_cursor of an earlier answer")
            (ties,) = await self._db.fetch(("ZCOUNT", key, top, top))
        (rows,) = await self._db.fetch(
            ("ZREVRANGEBYSCORE", key, top, "-inf", "WITHSCORES", "LIMIT", 0, limit + 1 + ties)
        )
        # Jobs of one millisecond come in reverse order of their ids.
        fresh = [(job, at) for job, at in codec.scored(rows) if last is None or at < int(top) or job < last]
        page = fresh[:limit]
        more = len(fresh) > limit
        return [job_id for job_id, _ in page], f"{page[-1][1]}:{page[-1][0]}" if more else None

    def _index(self, query: JobQuery) -> str:
        """The smallest one that lists all that is asked for: few jobs execute, whosever they are."""
        if query.owner is not None and query.status not in _EXECUTING:
            return self._keys.active(query.owner) if query.active else self._keys.jobs(owner=query.owner)
        return self._keys.jobs(status=query.status, workflow=None if query.status else query.workflow)

    async def _read(self, job_ids: Sequence[str]) -> list[Job | None]:
        looks = (self._db.script("look", job_id) for job_id in job_ids)
        return [_seen(*reply) if reply else None for reply in await asyncio.gather(*looks)]


def _seen(fields: list[Any], rows: list[Any], queue_position: int | None) -> Job:
    """What look.lua answers."""
    runs = tuple(codec.run(run_id.decode(), row) for run_id, row in rows if row[0])
    return codec.job(fields, runs, queue_position)


def _origin(origin: Origin | None, posted: Posted | None) -> tuple[str | bytes, ...]:
    """What submit.lua is told of them: extra_data, posted, peer, client."""
    if origin is None or posted is None:
        return "", "", "", ""
    return codec.dump(posted.extra_data), codec.dump_posted(posted), origin.peer, origin.client_id or ""


def _no_job(job_id: str) -> NotFound:
    return NotFound("job_not_found", f"there is no job {job_id} (ended jobs are kept for the retention time)")


def _matches(job: Job, query: JobQuery) -> bool:
    spec = job.spec
    return (
        (query.status is None or job.status == query.status)
        and (query.owner is None or (spec.origin is not None and query.owner in owners(spec.origin)))
        and (query.workflow is None or spec.workflow == query.workflow)
        and all(spec.metadata.get(name) == value for name, value in query.labels.items())
    )


def _reused(idempotency: Idempotency | None, job_id: str) -> InvalidRequest:
    key = idempotency.key if idempotency else ""
    return InvalidRequest(
        "idempotency_key_reuse",
        f"Idempotency-Key {key!r} was used with another body: send the same body, or a new key",
        job=job_id,
    )


def _ended_key(field: bytes) -> tuple[str, JobStatus]:
    workflow, _, status = field.decode().rpartition(" ")
    return workflow, JobStatus(status)
