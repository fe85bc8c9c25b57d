"""Warm-up: a graph executed for real before a ComfyUI is given runs, so that it has shown that it can."""

from __future__ import annotations

import asyncio
import uuid

from orchestrator.comfy.answers import HistoryEntry
from orchestrator.comfy.client import ComfyClient
from orchestrator.comfy.session import Collect, Fail, OutOfMemory, Rerun, Retry, Session
from orchestrator.errors import FleetError, WorkerFault
from orchestrator.graph.stage import break_cache, stage
from orchestrator.store.port import Graph

POLL_S = 0.2


async def warm_up(client: ComfyClient, graph: Graph, within_s: float) -> str:
    """Raises WorkerFault("comfyui_unfit") when it fails, or has not ended in time. Answers the run id under which lies
    what it saved, which nobody collects."""
    prompt_id = str(uuid.uuid4())
    try:
        async with asyncio.timeout(within_s):
            await client.prompt(break_cache(stage(graph, prompt_id, {}), prompt_id), prompt_id, None)
            entry = await _ended(client, prompt_id)
    except TimeoutError:
        await client.cancel(prompt_id)
        raise WorkerFault("comfyui_unfit", f"a graph was not executed within {within_s:.0f} s") from None
    except FleetError as error:
        raise WorkerFault("comfyui_unfit", error.message) from error
    await client.delete_history([prompt_id])
    verdict = Session(graph).conclude(entry)
    if isinstance(verdict, Fail | Retry | OutOfMemory | Rerun):
        raise WorkerFault("comfyui_unfit", verdict.error.message)
    if not isinstance(verdict, Collect):
        raise WorkerFault("comfyui_unfit", "the graph was interrupted")
    return prompt_id


async def _ended(client: ComfyClient, prompt_id: str) -> HistoryEntry:
    while True:
        entry = await client.history(prompt_id)
        if entry is not None:
            return entry
        await asyncio.sleep(POLL_S)
