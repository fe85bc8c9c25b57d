"""Gauge: keeps the fleet informed of what a worker's memory holds, off the path of its runs.

A run that ended is followed by one look, a moment later: several short ones share it, and ComfyUI has settled by then.
Where the node pack is missing nothing is asked, and what runs let one infer is told with their results.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import Residency
from orchestrator.errors import Superseded, WorkerFault
from orchestrator.worker.backoff import insist
from orchestrator.worker.context import End, WorkerContext
from orchestrator.worker.execution import Execution
from orchestrator.worker.residency import NO_PACK

log = logging.getLogger(__name__)

SETTLE_S = 1.0  # from the end of a run to the look: so often at most is ComfyUI asked


class Gauge:
    """`executions` are those of the context, by run id."""

    def __init__(self, context: WorkerContext, executions: Mapping[str, Execution], epoch: int) -> None:
        self._context = context
        self._executions = executions
        self._epoch = epoch
        self._sees = True  # for all we know
        self._stirred = asyncio.Event()
        self._turn = asyncio.Lock()

    def stir(self) -> None:
        """Something may have come or gone."""
        self._stirred.set()

    def staged(self, model: ModelRef) -> None:
        """Its file was read into RAM ahead of the run that needs it."""
        self._context.residency.staged(model)
        self.stir()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._stirred.wait()
            await asyncio.sleep(SETTLE_S)
            self._stirred.clear()
            await self.look()

    async def look(self) -> None:
        """Measures, where that is possible, and tells the store what is new."""
        async with self._turn:
            if self._sees:
                await self._measure()
            try:
                await self._tell()
            except Superseded as error:
                self._context.end(End.SUPERSEDED, error.message)

    async def _measure(self) -> None:
        residency = self._context.residency
        try:
            report = await self._context.client.memory()
        except WorkerFault as fault:  # whoever watches it sees to it
            residency.unmeasured(fault.message)
            return
        if report is None:
            self._sees = False
            residency.unmeasured(NO_PACK)
            return
        for execution in self._executions.values():
            execution.note_load()  # before what it loaded already looks as if it had always been there
        residency.measure(report)

    async def _tell(self) -> None:
        context = self._context
        residency = context.residency.report()
        if context.told is not None and _gist(residency) == _gist(context.told):
            return
        await insist(lambda: context.store.report_residency(context.info.id, self._epoch, residency))
        context.told = residency


def _gist(residency: Residency) -> object:
    """All but the order of use, which every run changes."""
    return frozenset(residency.vram), frozenset(residency.ram), residency.source, residency.held, residency.why
