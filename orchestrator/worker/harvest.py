"""Harvest: what one run makes, on its way into storage. Each file is brought over once, while its run goes on or at its
end, and can be shown as soon as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from orchestrator.comfy.answers import FileOutput, TextOutput
from orchestrator.delivery.keys import run_prefix
from orchestrator.domain.asset import Output
from orchestrator.domain.showing import merged, settled
from orchestrator.worker.collector import Collector, Owner

Found = FileOutput | TextOutput


class Harvest:
    """`shown`: what watchers of the job have seen, of this run or an earlier one."""

    def __init__(self, collector: Collector, owner: Owner, shown: tuple[Output, ...]) -> None:
        self.shown = shown
        self._begun = False  # something of this run may be in storage
        self._collector = collector
        self._owner = owner
        self._number = 0
        self._transfers: dict[Found, asyncio.Task[Output]] = {}

    def begin(self, found: Iterable[Found]) -> None:
        """Has them brought over, beside whatever else goes on."""
        for output in found:
            if output not in self._transfers:
                self._begun = True
                transfer = self._collector.collect(self._owner, self._number, output)
                self._transfers[output] = asyncio.create_task(transfer)
                self._number += 1

    def visible(self) -> tuple[Output, ...]:
        """What there is to be seen now."""
        done = [task for task in self._transfers.values() if task.done() and not task.cancelled()]
        return merged(self.shown, [task.result() for task in done if task.exception() is None])

    async def finish(self, found: Sequence[Found]) -> tuple[Output, ...]:
        """All of it, in the order in which it was shown. Raises NotFound("output_missing") for what the worker has
        not."""
        self.begin(found)
        return settled(self.shown, await asyncio.gather(*(self._transfers[output] for output in found)))

    async def close(self) -> None:
        """Breaks off what is under way. Another attempt of the run begins anew."""
        transfers, self._transfers = list(self._transfers.values()), {}
        for task in transfers:
            task.cancel()
        await asyncio.gather(*transfers, return_exceptions=True)

    async def discard(self, unless_shown: bool) -> None:
        """Deletes what was stored. `unless_shown`: the job goes on, and what was shown of this run is seen until the
        next one has made it anew; it goes with the job."""
        mine = run_prefix(self._owner.job_id, self._owner.run_id) + "/"
        seen = unless_shown and any(output.path.startswith(mine) for output in self.shown)
        if self._begun and not seen:
            await self._collector.discard(self._owner)
