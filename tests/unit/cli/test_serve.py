"""How a process that serves ends when something happens that nobody foresaw."""

from __future__ import annotations

import json
import subprocess
import sys

PROMPT = "a heron at dawn"
CRASH = f"""
import asyncio
from orchestrator.cli.serve import _until_stopped
from orchestrator.settings import Settings

async def serve(stop):
    async with asyncio.TaskGroup():
        raise RuntimeError("cannot take {PROMPT}")

_until_stopped(serve, Settings())
"""


def test_what_was_not_foreseen_is_told_by_the_log_and_quotes_no_prompt() -> None:
    ended = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True, check=False)
    line = json.loads(ended.stderr.splitlines()[0])
    assert ended.returncode != 0
    assert (line["level"], line["logger"]) == ("critical", "orchestrator.cli.serve")
    assert "in serve" in line["exception"]
    assert PROMPT not in ended.stderr
