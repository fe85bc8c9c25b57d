"""Reporter: tells the store, at a steady pace, how far the runs of one worker are.

It samples instead of passing on every message: a run shorter than one period is not reported at all, and a long one
costs the same however much ComfyUI says of it.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic

from orchestrator.comfy.session import Session
from orchestrator.domain.event import Event, EventType
from orchestrator.domain.job import Progress
from orchestrator.errors import Busy, Superseded
from orchestrator.store.port import RunKey, RunStore
from orchestrator.worker.cancellation import Stop
from orchestrator.worker.execution import Execution

PERIOD_S = 0.1
PREVIEW_PERIODS = 2  # between two previews


class Reporter:
    """`executions` is the driver's own, by run id."""

    def __init__(self, store: RunStore, executions: Mapping[str, Execution]) -> None:
        self._store = store
        self._executions = executions
        self._told: dict[str, Progress] = {}

    async def run(self) -> None:
        """For ever."""
        period = 0
        while True:
            await asyncio.sleep(PERIOD_S)
            period += 1
            for execution in [each for each in self._executions.values() if each.relay is not None]:
                with suppress(Busy):
                    await self._pass_on(execution)
            for execution in [each for each in self._executions.values() if _tells(each)]:
                # What is told here is worth nothing later: a store that is away is not waited for.
                with suppress(Busy):
                    await self._report(execution, with_preview=period % PREVIEW_PERIODS == 0)
            self._told = {run_id: told for run_id, told in self._told.items() if run_id in self._executions}

    async def _pass_on(self, execution: Execution) -> None:
        assert execution.relay is not None
        try:
            await execution.relay.pass_on()
        except Superseded:
            execution.stop(Stop.DROP)

    async def _report(self, execution: Execution, with_preview: bool) -> None:
        session, key = execution.prompt.session, execution.key
        assert session is not None and key is not None
        if with_preview:
            await self._preview(execution.job_id, session)
        progress = session.progress()
        try:
            await self._show(execution, session, key)
            if progress != self._told.get(execution.run_id):
                await self._store.progress(key, progress)
                self._told[execution.run_id] = progress
        except Superseded:
            execution.stop(Stop.DROP)

    async def _show(self, execution: Execution, session: Session, key: RunKey) -> None:
        """What it has made so far is brought over, and seen once that is done."""
        harvest = execution.harvest
        if not execution.shows or harvest is None:
            return
        harvest.begin(session.take_made())
        if (visible := harvest.visible()) != harvest.shown:
            await self._store.show(key, visible, harvest.shown)
            harvest.shown = visible

    async def _preview(self, job_id: str, session: Session) -> None:
        preview = session.take_preview()
        if preview is not None:
            data = {
                "node_id": preview.node,
                "content_type": preview.content_type,
                "data_base64": b64encode(preview.image).decode(),
            }
            await self._store.preview(job_id, Event(EventType.PREVIEW, data))


def _tells(execution: Execution) -> bool:
    begun = execution.scope.started_at
    return execution.announced and execution.prompt.following and begun is not None and monotonic() - begun >= PERIOD_S
