"""Records what a real ComfyUI answers, for the contract tests of the simulated one.

    PYTHONHASHSEED=0 python main.py --cpu --disable-metadata --port 8188 \\
        --input-directory NEW --output-directory NEW --temp-directory NEW      (a ComfyUI with empty directories)
    python -m tests.contract.record http://127.0.0.1:8188 [SCENARIO...]

The fixed hash seed is there because ComfyUI walks over sets of outputs. models/checkpoints has to hold an SD1.5
checkpoint named as in scenarios.CHECKPOINT; random weights will do. One file per version and scenario is written to
transcripts/, and the signatures of the node classes that we simulate to the simulator's own folder.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp

from orchestrator.simulator.comfyui.nodes import registry
from tests.contract.driver import PROSE, Driver
from tests.contract.scenarios import SCENARIOS, SINCE_JOBS_API

TRANSCRIPTS = Path(__file__).parent / "transcripts"
SIGNATURES = Path(registry.__file__).parent / "signatures"
OURS = frozenset({"VHS_VideoCombine", "SimMesh"})


async def record(url: str, names: list[str]) -> None:
    async with aiohttp.ClientSession(url) as session:
        async with session.get("/system_stats") as answer:
            version = (await answer.json())["system"]["comfyui_version"]
        async with session.get("/api/jobs") as answer:
            skipped = frozenset[str]() if answer.status == 200 else SINCE_JOBS_API
        for name in names or [name for name in SCENARIOS if name not in skipped]:
            print(version, name, flush=True)
            async with Driver(session, version) as driver:
                await SCENARIOS[name](driver)
            write(TRANSCRIPTS / version / f"{name}.json", driver.transcript)
        if not names:
            await record_signatures(session, version)


async def record_signatures(session: aiohttp.ClientSession, version: str) -> None:
    """What /object_info says of our classes, without its prose and without the files of this machine."""
    async with session.get("/object_info") as answer:
        classes: dict[str, Any] = await answer.json()
    files: set[str] = set()
    for folder in _folders():
        async with session.get(f"/models/{folder}") as answer:
            files.update(await answer.json() if answer.status == 200 else ())
    files.update(*(classes[name]["input"]["required"]["image"][0] for name in ("LoadImage", "LoadImageMask")))
    lines = [
        f"{json.dumps(name)}: {json.dumps(_trimmed(classes[name], files))}"
        for name in sorted(registry.IMPLEMENTATIONS.keys() - OURS)
    ]
    (SIGNATURES / f"{version}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def write(path: Path, transcript: list[Any]) -> None:
    """One message or answer to a line, so that a change reads well."""
    lines: list[str] = []
    for entry in transcript:
        if "heard" in entry:
            heard = ",\n  ".join(json.dumps(message) for message in entry["heard"])
            lines.append(f'{{"socket": {json.dumps(entry["socket"])}, "heard": [\n  {heard}\n]}}')
        else:
            lines.append(json.dumps(entry))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def _folders() -> set[str]:
    choices = (implementation.choices.values() for implementation in registry.IMPLEMENTATIONS.values())
    return {folder for each in choices for folder in each if folder != registry.INPUT_IMAGES}


def _trimmed(value: Any, files: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _trimmed(each, files) for key, each in value.items() if key not in PROSE}
    if isinstance(value, list):
        return [_trimmed(each, files) for each in value if not (isinstance(each, str) and each in files)]
    return value


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1], sys.argv[2:]))
