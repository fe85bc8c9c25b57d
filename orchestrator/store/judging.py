"""Jobs that have a gate, in Redis: which are to be judged, and what was concluded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from orchestrator.domain.quality import Judgement
from orchestrator.store import codec
from orchestrator.store.database import Database
from orchestrator.store.port import AskPerson, Conclusion, Deliver, FailJob, MoreCandidates, PendingReview
from orchestrator.store.runs import watched


class RedisJudging:
    """Implements JudgeStore."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._keys = database.keys

    async def unjudged(self) -> AsyncIterator[str]:
        hints = self._keys.single("judge")
        (last,) = await self._db.fetch(("XREVRANGE", hints, "+", "-", "COUNT", 1))
        (waiting,) = await self._db.fetch(("ZRANGE", self._keys.single("unjudged"), 0, -1))
        for job_id in waiting:
            yield job_id.decode()
        async with aclosing(self._db.follow(hints, last[0][0] if last else b"0")) as batches:
            async for entries in batches:
                for job_id in dict.fromkeys(fields[b"job"] for _, fields in entries):
                    yield job_id.decode()

    async def conclude(self, job_id: str, ended: int, judgement: Judgement, conclusion: Conclusion | None) -> bool:
        told = self._told(conclusion)
        (outcome, *_) = await self._db.script("conclude", job_id, ended, told[0], codec.dump(judgement), *told[1:])
        return outcome == b"ok"

    async def reviews(self) -> Sequence[PendingReview]:
        rows, now = await self._db.fetch(("ZRANGE", self._keys.single("reviews"), 0, -1, "WITHSCORES"), ("TIME",))
        now_s = int(now[0]) + int(now[1]) / 1e6
        return [PendingReview(job_id, due_ms / 1000 - now_s) for job_id, due_ms in codec.scored(rows)]

    def _told(self, conclusion: Conclusion | None) -> list[Any]:
        match conclusion:
            case None:
                return ["wait"]
            case Deliver(outputs=outputs):
                each = (codec.dump(watched(index, output)) for index, output in enumerate(outputs))
                return ["accept", codec.dump(outputs), *each]
            case MoreCandidates(patches=patches):
                return ["rerun", *(part for patch in patches for part in (self._db.new_id(), codec.dump(patch)))]
            case AskPerson(within_s=within_s):
                return ["review", int(within_s * 1000)]
            case FailJob(error=error):
                return ["fail", codec.dump(error)]
