"""The simulated ComfyUI answers as the real ones did when they were recorded."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.simulator.comfyui import RunningSim
from orchestrator.simulator.comfyui.config import PROFILES
from tests.contract.driver import Driver
from tests.contract.scenarios import CHECKPOINT, SCENARIOS, SINCE_JOBS_API

TRANSCRIPTS = Path(__file__).parent / "transcripts"
RECORDED = sorted(f"{path.parent.name}/{path.stem}" for path in TRANSCRIPTS.glob("*/*.json"))
ABSENT = "(absent)"
CHECKPOINT_SIZE = 2_133_804_926

StartSim = Callable[..., Awaitable[RunningSim]]


def test_every_scenario_is_recorded_for_every_version() -> None:
    expected = {
        f"{version}/{name}"
        for version, profile in PROFILES.items()
        for name in SCENARIOS
        if profile.jobs_api or name not in SINCE_JOBS_API
    }
    assert set(RECORDED) == expected


@pytest.mark.parametrize("recorded", RECORDED)
async def test_answers_as_the_real_one(recorded: str, sim_comfyui: StartSim) -> None:
    version, _, name = recorded.partition("/")
    models = {"checkpoints": {CHECKPOINT: CHECKPOINT_SIZE}}
    sim = await sim_comfyui(version=version, device="cpu", models=models, step_seconds=0.02)
    async with aiohttp.ClientSession(sim.url) as session, Driver(session, version) as driver:
        await SCENARIOS[name](driver)
    real = json.loads((TRANSCRIPTS / f"{recorded}.json").read_text())
    simulated = json.loads(json.dumps(driver.transcript))
    assert list(differences(real, simulated)) == []


def differences(real: Any, simulated: Any, path: str = "") -> Iterator[str]:
    """Every place where two transcripts part, with what each has there."""
    if isinstance(real, dict) and isinstance(simulated, dict):
        for key in real.keys() | simulated.keys():
            yield from differences(real.get(key, ABSENT), simulated.get(key, ABSENT), f"{path}/{key}")
    elif isinstance(real, list) and isinstance(simulated, list):
        for index, pair in enumerate(zip_longest(real, simulated, fillvalue=ABSENT)):
            yield from differences(*pair, f"{path}/{index}")
    elif real != simulated:
        yield f"{path}: real {real!r}, simulated {simulated!r}"
