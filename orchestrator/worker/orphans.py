"""Orphans: runs of ours that a ComfyUI still has and should not, as they went elsewhere while nobody watched it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container
from functools import partial

from orchestrator.errors import NotFound
from orchestrator.worker.backoff import insist
from orchestrator.worker.context import WorkerContext

log = logging.getLogger(__name__)

POLL_S = 0.5


async def stop_orphans(context: WorkerContext, wanted: Container[str]) -> None:
    """Returns once ComfyUI has none. What others queued there is left alone."""
    foreign: set[str] = set()
    while True:
        queue = await insist(context.client.queue, context.doubt)
        orphans = [run for run in queue if run not in wanted and run not in foreign]
        for run_id in orphans:
            if not await _is_ours(context, run_id):
                foreign.add(run_id)
                continue
            log.info("%s: stopping run %s, which is not ours any more", context.info.id, run_id)
            await insist(partial(context.client.cancel, run_id), context.doubt)
        if foreign.issuperset(orphans):
            return
        await asyncio.sleep(POLL_S)


async def _is_ours(context: WorkerContext, run_id: str) -> bool:
    try:
        return (await insist(lambda: context.store.order(run_id))).run.worker == context.info.id
    except NotFound:
        return False
