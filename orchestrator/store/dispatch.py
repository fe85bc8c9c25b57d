"""What the leading controller does in Redis: lead, follow the feed, assign, reap, forget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from orchestrator.domain.job import JobError, Priority
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.warmup import Warmup
from orchestrator.errors import Retryable
from orchestrator.store import codec
from orchestrator.store.database import Database
from orchestrator.store.port import Assignment, FeedItem, FeedKind, Snapshot
from orchestrator.store.workers import read_workers

CHUNK = 5000  # runs read in one go when a snapshot is taken
ENTRY_FIELDS = ("entry", "job", "attempt", "arrived", "avoid", "vram")


class RedisDispatch:
    """Implements DispatchStore."""

    def __init__(self, database: Database, leader_s: float) -> None:
        self._db = database
        self._keys = database.keys
        self._leader_ms = int(leader_s * 1000)

    async def lead(self, controller: str) -> bool:
        return await self._db.script("lead", controller, self._leader_ms) == 1

    async def resign(self, controller: str) -> None:
        await self._db.script("lead", controller, 0)

    async def snapshot(self) -> Snapshot:
        seq, depth, learned = await self._db.fetch(
            ("GET", self._keys.single("feed:seq")),
            ("HKEYS", self._keys.single("queued")),
            ("GET", self._keys.single("learned")),
        )
        workers = await read_workers(self._db)
        pairs = [(worker.info.id, run_id) for worker in workers for run_id in worker.runs]
        entries = await self._entries([run_id for _, run_id in pairs])
        running = [(worker_id, entry) for (worker_id, _), entry in zip(pairs, entries, strict=True) if entry]
        return Snapshot(
            int(seq or 0), self._queued([codec.pool_and_priority(field) for field in depth]), running, workers, learned
        )

    async def feed(self, after: int) -> AsyncIterator[Sequence[FeedItem]]:
        batches = self._db.follow(self._keys.single("feed"), f"{after}-0".encode())
        async with aclosing(batches):
            async for entries in batches:
                items = [_item(int(entry_id.split(b"-")[0]), fields) for entry_id, fields in entries]
                if items[0].seq != after + 1:
                    raise Retryable(
                        "feed_gap", f"the feed goes on at {items[0].seq}, not {after + 1}: take a new snapshot"
                    )
                after = items[-1].seq
                yield items

    async def assign(self, assignments: Sequence[Assignment]) -> Sequence[bool]:
        replies = await asyncio.gather(
            *(self._db.script("assign", a.run_id, a.attempt, a.worker, codec.dump(a.reasons)) for a in assignments)
        )
        return [reply == 1 for reply in replies]

    async def warm(self, worker_id: str, epoch: int, warmup: Warmup, within_s: float) -> bool:
        return await self._db.script("warm", worker_id, epoch, warmup.id, codec.dump(warmup), int(within_s * 1000)) == 1

    async def refuse(self, run_id: str, attempt: int, error: JobError) -> None:
        # A reply of "superseded" is as good: the run left the queue some other way.
        await self._db.script("fail", run_id, attempt, "", error.message, codec.dump(error))

    async def save_learned(self, blob: bytes) -> None:
        await self._db.fetch(("SET", self._keys.single("learned"), blob))

    async def reap(self) -> Sequence[str]:
        return [*await self._reap_workers(), *await self._reap_deadlines()]

    async def lapsed_jobs(self, retention_s: float, limit: int = 100) -> Sequence[str]:
        before = await self._now_ms() - int(retention_s * 1000)
        (ids,) = await self._db.fetch(("ZRANGEBYSCORE", self._keys.single("ended"), "-inf", before, "LIMIT", 0, limit))
        return [job_id.decode() for job_id in ids]

    async def forget(self, job_id: str) -> None:
        await self._db.script("forget", job_id)

    async def _reap_workers(self) -> list[str]:
        (due,) = await self._db.fetch(("ZRANGEBYSCORE", self._keys.single("workers"), "-inf", await self._now_ms()))
        done: list[str] = []
        for worker_id in due:
            flat = await self._db.script("reap_worker", worker_id)
            for run_id, attempt in zip(flat[::2], flat[1::2], strict=True):
                outcome = await self._requeue(run_id.decode(), int(attempt), worker_id.decode())
                done.append(f"worker {worker_id.decode()} was not heard from: run {run_id.decode()} {outcome}")
        return done

    async def _requeue(self, run_id: str, attempt: int, worker: str) -> str:
        error = JobError("worker_lost", f"worker {worker} was lost while it had the run, and no retries are left")
        reply = await self._db.script(
            "retry", run_id, attempt, worker, self._db.new_id(), "lose", f"worker {worker} was lost", codec.dump(error)
        )
        return reply[0].decode()

    async def _reap_deadlines(self) -> list[str]:
        (due,) = await self._db.fetch(
            ("ZRANGEBYSCORE", self._keys.single("deadlines"), "-inf", await self._now_ms(), "LIMIT", 0, 1000)
        )
        expired = await asyncio.gather(*(self._db.script("expire", job_id) for job_id in due))
        return [f"job {job_id.decode()} passed its deadline" for job_id, did in zip(due, expired, strict=True) if did]

    async def _now_ms(self) -> int:
        (now,) = await self._db.fetch(("TIME",))
        return int(now[0]) * 1000 + int(now[1]) // 1000

    async def _queued(self, queues: Iterable[tuple[str, Priority]]) -> AsyncIterator[Sequence[QueueEntry]]:
        for pool, priority in queues:
            queue = self._keys.queue(pool, priority)
            arrived, seen = "-inf", set[str]()  # not by rank: what leaves the queue meanwhile moves those behind it up
            while True:
                command = ("ZRANGE", queue, arrived, "+inf", "BYSCORE", "LIMIT", 0, CHUNK + len(seen))
                (rows,) = await self._db.fetch((*command, "WITHSCORES"))
                page = [(run_id, at) for run_id, at in codec.scored(rows) if run_id not in seen]
                if not page:
                    break
                yield [entry for entry in await self._entries([run_id for run_id, _ in page]) if entry]
                newest = page[-1][1]
                together = {run_id for run_id, at in page if at == newest}
                seen = together | seen if arrived == str(newest) else together
                arrived = str(newest)

    async def entry(self, run_id: str) -> QueueEntry | None:
        (found,) = await self._entries([run_id])
        return found

    async def _entries(self, run_ids: Sequence[str]) -> list[QueueEntry | None]:
        rows = await self._db.fetch(*(("HMGET", self._keys.run(run_id), *ENTRY_FIELDS) for run_id in run_ids))
        return [_entry(run_id.encode(), row) for run_id, row in zip(run_ids, rows, strict=True)]


def _entry(run_id: bytes, row: list[Any]) -> QueueEntry | None:
    raw, job_id, attempt, arrived, avoid, vram = row
    return codec.entry(raw, run_id, job_id, attempt, arrived, avoid, vram) if raw else None


def _item(seq: int, fields: Mapping[bytes, bytes]) -> FeedItem:
    run_id = fields.get(b"run", b"")
    entry = None
    if b"entry" in fields:
        job_id, attempt, arrived = fields[b"job"], fields[b"attempt"], fields[b"at"]
        entry = codec.entry(
            fields[b"entry"], run_id, job_id, attempt, arrived, fields.get(b"avoid"), fields.get(b"vram")
        )
    return FeedItem(
        seq,
        FeedKind(fields[b"kind"].decode()),
        codec.text(run_id) or None,
        codec.text(fields.get(b"worker")),
        entry,
        codec.run_end(fields[b"state"], fields[b"data"]) if b"data" in fields else None,
        codec.residency(fields[b"residency"]) if b"residency" in fields else None,
        codec.WARMED.validate_json(fields[b"warmed"]) if b"warmed" in fields else None,
    )
