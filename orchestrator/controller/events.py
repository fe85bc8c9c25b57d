"""EventHub: one live subscription of the controller, fanned out to everybody who watches a job here.

The store's stream of a job's events is the truth, and what arrives live is a hint. Each watcher has a small mailbox;
one that falls behind loses its mailbox, not its events, as it reads the store again after the last event it saw. It
does so too when nothing has arrived for a while, should a hint be lost. So nobody is dropped, nobody sees an event
twice or not at all, and memory stays bounded. Previews are live only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from orchestrator.domain.event import Event, EventType
from orchestrator.domain.job import TERMINAL, Job, JobStatus
from orchestrator.errors import InvalidRequest
from orchestrator.store.port import JobStore, Watch
from orchestrator.store.port.clients import comfy_topic

MAILBOX = 256  # events that wait for one watcher
RECHECK_S = 10.0
_EVENT_ID = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")  # within 64 bits, as those of Redis are
_Order = tuple[int, int]
_START: _Order = (0, 0)


class EventHub:
    """Watchers are told at once while `run` runs."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._watch: Watch | None = None
        self._mailboxes: dict[str, set[_Mailbox]] = {}
        self._turn = asyncio.Lock()  # over what the watch is told to add and to remove

    async def run(self) -> None:
        """Until cancelled; then every subscription ends, so that its watcher can resume on another controller."""
        watch = await self._store.watch()
        try:
            async with self._turn:
                self._watch = watch
                for topic in list(self._mailboxes):
                    await watch.add(topic)
            async for topic, event in watch:
                for mailbox in self._mailboxes.get(topic, ()):
                    mailbox.put(event)
        finally:
            async with self._turn:  # nobody is in the midst of telling it something when it closes
                self._watch = None
            for mailboxes in self._mailboxes.values():
                for mailbox in mailboxes:
                    mailbox.close()
            await watch.close()

    async def subscribe(
        self, job_id: str, after: str | None = None, *, comfy: bool = False
    ) -> AsyncGenerator[Event, None]:
        """The job's events after the one with that id (None: from the first), then live, until its terminal status.
        `comfy`: what its ComfyUI says, in place of progress and outputs.

        Raises NotFound, and InvalidRequest("invalid_event_id").
        """
        last = order(after) if after is not None else _START
        topic = comfy_topic(job_id) if comfy else job_id
        async with self._listening(topic) as mailbox:
            arrived: list[Event] | None = None
            while not mailbox.closed:
                ended = False
                if arrived is None:  # at first, after falling behind, and after a silence
                    arrived, ended = await self._kept(job_id, topic, last)
                for event in arrived:
                    if event.id is not None:
                        if order(event.id) <= last:
                            continue
                        last = order(event.id)
                    yield event
                    ended = ended or ends(event)
                if ended:
                    return
                arrived = await mailbox.take()

    async def wait(self, job_id: str, timeout_s: float) -> Job:
        """The job once it has ended, or as it is after that time."""
        try:
            async with asyncio.timeout(timeout_s), aclosing(self.subscribe(job_id)) as events:
                async for _ in events:
                    pass
        except TimeoutError:
            pass  # the caller sees by its status that it has not ended
        return await self._store.job(job_id)

    async def occasions(self, topic: str) -> AsyncGenerator[None, None]:
        """Says when to look into the store for what the topic is about: now, when something is told there, and when
        nothing was for a while."""
        async with self._listening(topic) as mailbox:
            while not mailbox.closed:
                yield
                await mailbox.take()

    async def _kept(self, job_id: str, topic: str, last: _Order) -> tuple[list[Event], bool]:
        """What the store kept after that event, and whether the job has ended."""
        job = await self._store.job(job_id)
        events = list(await self._store.events(topic, "{}-{}".format(*last)))
        if job.terminal and last == _START and not any(map(ends, events)):  # jobs are kept longer than their events
            events.append(Event(EventType.STATUS, {"status": job.status.value}))
        return events, job.terminal

    @asynccontextmanager
    async def _listening(self, topic: str) -> AsyncIterator[_Mailbox]:
        mailbox = _Mailbox()
        self._mailboxes.setdefault(topic, set()).add(mailbox)
        try:
            async with self._turn:
                if self._watch:
                    await self._watch.add(topic)
            yield mailbox
        finally:
            self._mailboxes[topic].discard(mailbox)
            async with self._turn:
                if self._mailboxes.get(topic) == set():
                    del self._mailboxes[topic]
                    if self._watch:
                        await self._watch.remove(topic)


class _Mailbox:
    """What came for one watcher since it last looked."""

    def __init__(self) -> None:
        self.closed = False
        self._events: list[Event] = []
        self._behind = False
        self._arrival = asyncio.Event()

    def put(self, event: Event) -> None:
        if len(self._events) >= MAILBOX:
            self._events.clear()
            self._behind = True
        if not self._behind:
            self._events.append(event)
        self._arrival.set()

    def close(self) -> None:
        self.closed = True
        self._arrival.set()

    async def take(self) -> list[Event] | None:
        """Waits for events; None: look into the store, as some were lost, or none came for RECHECK_S."""
        try:
            async with asyncio.timeout(RECHECK_S):
                await self._arrival.wait()
        except TimeoutError:
            return None
        self._arrival.clear()
        events, behind = self._events, self._behind
        self._events, self._behind = [], False
        return None if behind else events


def ends(event: Event) -> bool:
    """Whether this is the last event of its job."""
    return event.type is EventType.STATUS and JobStatus(event.data["status"]) in TERMINAL


def order(event_id: str) -> _Order:
    """What an event's id sorts by. Raises InvalidRequest("invalid_event_id") for what is none."""
    if found := _EVENT_ID.fullmatch(event_id):
        return int(found[1]), int(found[2])
    raise InvalidRequest("invalid_event_id", "Last-Event-ID must be the id of an event that this job sent before")
