"""The simulated ComfyUI of the bench, which keeps when each of its runs began and ended.

The driver deletes what it has collected from ComfyUI's history, so the times have to be kept on this side.
`python -m orchestrator.cli.bench.worker SPANS.json STEP_SECONDS` prints `ready URL`, and writes [[began, ended], ...]
(Unix milliseconds, ComfyUI's own messages execution_start and execution_success) when it is told to end.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson

from orchestrator.simulator.comfyui import SimComfyUI, SimConfig
from orchestrator.simulator.comfyui.main import until_told_to_end


async def _serve(spans: Path, step_seconds: float) -> None:
    async with await SimComfyUI(SimConfig(step_seconds=step_seconds)).start() as running:
        sys.stdout.write(f"ready {running.url}\n")
        sys.stdout.flush()
        await until_told_to_end(exit_with_parent=True)
        spans.write_bytes(orjson.dumps(running.spans))


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), float(sys.argv[2])))
