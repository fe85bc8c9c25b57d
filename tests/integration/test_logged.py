"""What a fleet's logs tell of a job: the way from its request to its end by ids, and nothing of its prompt."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.simulator.comfyui.faults import Fault, Kind
from orchestrator.telemetry.logs import Json
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import Graph, node, sampled
from tests.fixtures.whole import StartWhole

SECRET = "a heron at dawn, for nobody else's eyes"


def graph(text: str) -> Graph:
    made = sampled(steps=2)
    return {**made, "6": node("CLIPTextEncode", text=text, clip=["4", 1])}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What this process writes as its log, debugging of ours included."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Json())
    ours = logging.getLogger("orchestrator")
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    yield stream
    ours.setLevel(level)
    ours.removeHandler(handler)


async def test_a_job_can_be_followed_by_ids_and_its_prompt_is_nowhere(
    whole: StartWhole, sim_comfyui: StartSim, lines: io.StringIO
) -> None:
    sim = await sim_comfyui(faults=(Fault(Kind.OUT_OF_MEMORY, times=None, class_type="KSampler"),))
    fleet = await whole(workers={"w1": sim.url})
    asked = {"X-Request-Id": "asked-1"}
    job = await fleet.client.post("/v1/jobs", {"workflow": graph(SECRET), "retries": 0}, asked)
    with pytest.raises(InvalidRequest, match="class"):
        await fleet.client.post("/v1/jobs", {"workflow": {"1": node(SECRET)}}, asked)
    failed = await fleet.ended(job["id"])
    assert failed["error"]["code"] == "out_of_memory", failed

    assert SECRET not in lines.getvalue()
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    accepted, refused = (line for line in told if line.get("request") == "asked-1")
    assert (accepted["job"], accepted["logger"]) == (job["id"], "orchestrator.controller.intake")
    assert (refused["message"], refused["status"]) == ("refused: invalid_workflow", 422)
    of_run = [line for line in told if line.get("run") == accepted["run"] and line["logger"].endswith(".execution")]
    assert {(line["job"], line["worker"]) for line in of_run} == {(job["id"], "w1")}
    assert (of_run[-1]["error"], of_run[-1]["node"]) == ("out_of_memory", "3")
