"""Questions to the leading controller, and its answers, in Redis: a stream, and a list for whoever waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from redis.exceptions import RedisError

from orchestrator.domain.outlook import Outlook
from orchestrator.store import codec
from orchestrator.store.database import Database, unavailable
from orchestrator.store.port import Question

QUESTIONS_LENGTH = 1_000  # what is trimmed is not answered


class RedisOutlooks:
    """Implements OutlookStore."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._keys = database.keys

    async def outlook(self, run_id: str, within_s: float) -> Outlook | None:
        (leader,) = await self._db.fetch(("GET", self._keys.single("leader")))
        if leader is None:
            return None
        asked = ("XADD", self._keys.single("questions"), "MAXLEN", "~", QUESTIONS_LENGTH, "*", "run", run_id)
        (question,) = await self._db.fetch(asked)
        redis = self._db.client()
        try:
            reply = await redis.blpop([self._keys.answer(question.decode())], timeout=within_s)
        except (RedisError, OSError) as error:
            raise unavailable(error) from error
        finally:
            await redis.aclose()
        return codec.OUTLOOK.validate_json(reply[1]) if reply else None

    async def questions(self) -> AsyncIterator[Question]:
        stream = self._keys.single("questions")
        (last,) = await self._db.fetch(("XREVRANGE", stream, "+", "-", "COUNT", 1))
        async with aclosing(self._db.follow(stream, last[0][0] if last else b"0")) as batches:
            async for entries in batches:
                for question, fields in entries:
                    yield Question(question.decode(), fields[b"run"].decode())

    async def answer(self, question: Question, outlook: Outlook | None) -> None:
        await self._db.script("answer", question.id, codec.dump(outlook))
