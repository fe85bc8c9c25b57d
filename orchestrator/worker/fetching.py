"""Fetching: brings the models to a worker's disk that its lock names, its ComfyUI lacks, and queued runs need.

One at a time, beside whatever executes. What came is offered to the fleet once ComfyUI lists it; what could not be had
is told as that, with the reason, and may be asked for again later.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic

from orchestrator.domain.needs import Content, ModelRef
from orchestrator.errors import FleetError
from orchestrator.pins.supply import Supply
from orchestrator.store.port import Contents
from orchestrator.worker.backoff import insist, passed
from orchestrator.worker.context import WorkerContext
from orchestrator.worker.host import Host
from orchestrator.worker.inspection import read_catalog
from orchestrator.worker.prefetch import SHARE

log = logging.getLogger(__name__)

FAULT_S = 300.0  # what could not be fetched is not tried again before this long: the runs that wait are to learn why
LOOK_S = 10.0  # so often it is seen that somebody else put one there: provision, or another worker of the same folder
PAUSE_MAX_S = 1.0


def lacking(host: Host) -> Contents:
    """What can be fetched there, and is not on its disk."""
    models = host.supply.models if host.supply else {}
    known = {ModelRef.at(name): model for name, model in models.items()}
    return {ref: Content(it.bytes, it.sha256, remote=True) for ref, it in known.items() if host.model_file(ref) is None}


class Fetcher:
    """Of one worker. `find` answers where its disk has a model, `tell` has the fleet know what its digests say, `note`
    operators what is going on."""

    def __init__(
        self,
        supply: Supply,
        find: Callable[[ModelRef], Path | None],
        context: WorkerContext,
        tell: Callable[[], Awaitable[None]],
        note: Callable[[str], Awaitable[None]],
    ) -> None:
        self._supply = supply
        self._find = find
        self._context = context
        self._tell = tell
        self._note = note
        self._wanted: Sequence[ModelRef] = ()
        self._changed = asyncio.Event()
        self._under_way: tuple[ModelRef, asyncio.Future[None]] | None = None
        self._faulty: dict[ModelRef, float] = {}  # until when

    def want(self, models: Sequence[ModelRef]) -> None:
        """From now on these, in this order, and nothing else: what was wanted before, is under way and not among them
        is given up. What has come of it is kept for the next time."""
        given_up = set(self._wanted).difference(models)
        self._wanted = models
        self._changed.set()
        if self._under_way is not None and self._under_way[0] in given_up:
            self._under_way[1].cancel()

    async def run(self) -> None:
        """For ever."""
        while True:
            await passed(self._changed, LOOK_S)
            self._changed.clear()
            for model in [model for model, until in self._faulty.items() if until <= monotonic()]:
                del self._faulty[model]
                await self._know(model, remote=True)
            for model in await asyncio.to_thread(self._there, self._missing()):
                await self._fetch(model)
            while wanted := self._next():
                await self._note(f"fetching {wanted.path}, which a queued run needs")
                await self._fetch(wanted)

    def _next(self) -> ModelRef | None:
        missing = self._missing()
        return next((model for model in self._wanted if model in missing), None)

    def _missing(self) -> set[ModelRef]:
        """What is not known to be there, nor why it cannot be."""
        return {ref for ref, its in self._context.digests.contents.items() if its.remote and not its.fault}

    def _there(self, models: Iterable[ModelRef]) -> list[ModelRef]:
        return [model for model in models if self._find(model) is not None]

    async def _fetch(self, model: ModelRef) -> None:
        try:
            came = await self._bring(model)
        except FleetError as error:
            await self._fail(model, error.message)
            return
        if came:
            await self._offer(model)
        else:
            await self._note(f"no queued run needs {model.path} any more: what came of it is kept")

    async def _offer(self, model: ModelRef) -> None:
        if await self._lists(model):
            await self._know(model, remote=False)
            await self._note(f"has {model.path} now")
        else:
            note = f"its ComfyUI does not list {model.path}, which was fetched since it was started"
            self._context.complain(note)
            await self._fail(model, note)

    async def _bring(self, model: ModelRef) -> bool:
        """Whether it is there; otherwise it was given up. Raises what Supply.fetch raises."""
        pace = _Pace()
        ended = _aside(partial(self._supply.fetch, model.path, pace))
        self._under_way = model, ended
        try:
            await asyncio.wait((ended,))
        finally:
            self._under_way = None
            pace.given_up.set()  # the thread ends with the next bytes
            ended.cancel()
        if ended.cancelled():
            return False
        ended.result()
        return True

    async def _lists(self, model: ModelRef) -> bool:
        """Whether ComfyUI offers it now, as far as it tells."""
        client = self._context.client
        catalog = await insist(lambda: read_catalog(client), self._context.doubt)
        return model in catalog.models or model.folder not in catalog.folders

    async def _fail(self, model: ModelRef, fault: str) -> None:
        log.warning("%s: %s", self._context.info.id, fault)
        self._faulty[model] = monotonic() + FAULT_S
        await self._know(model, remote=True, fault=fault)
        await self._note(fault)

    async def _know(self, model: ModelRef, *, remote: bool, fault: str = "") -> None:
        digests = self._context.digests
        its = replace(digests.contents[model], remote=remote, fault=fault)
        digests.contents = {**digests.contents, model: its}
        await self._tell()


def _aside(call: Callable[[], None]) -> asyncio.Future[None]:
    """The end of a call in a thread of its own, for which nobody has to wait: a source may be silent for long."""
    ended: Future[None] = Future()
    ended.set_running_or_notify_cancel()

    def run() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - raised by whoever waits
            ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=run, name="fetch", daemon=True).start()
    return asyncio.wrap_future(ended)


class _Pace:
    """Called while bytes come: has them take SHARE of the time, as whoever executes needs disk and network, too."""

    def __init__(self) -> None:
        self.given_up = threading.Event()
        self._since = monotonic()

    def __call__(self) -> None:
        pause_s = (monotonic() - self._since) * (1 / SHARE - 1)
        if self.given_up.wait(min(PAUSE_MAX_S, pause_s)):
            raise FleetError("given_up", "nobody needs it any more")
        self._since = monotonic()
