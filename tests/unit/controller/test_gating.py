"""The gate of a job: what its candidates and reruns change in its graph."""

from __future__ import annotations

from typing import Any

from orchestrator.controller.gating import first_candidates, gated, more_candidates
from orchestrator.controller.registration import check, inline_bundle
from orchestrator.controller.requests import Registration, WorkflowJob, conform
from orchestrator.graph.bind import overlaid
from orchestrator.graph.params import Schema


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


BODY = {
    "name": "lighthouse",
    "graph": {
        "1": node("CLIPTextEncode", text="a lighthouse"),
        "2": node("Sampler", positive=["1", 0], seed=5, cfg=7.0),
        "3": node("SaveImage", images=["2", 0], filename_prefix="x"),
    },
    "params": {
        "type": "object",
        "properties": {"prompt": {"type": "string"}, "seed": {"type": "integer"}, "cfg": {"type": "number"}},
    },
    "bind": {"prompt": "1.text", "seed": "2.seed", "cfg": "2.cfg"},
    "quality": {
        "scores": {"prompt_alignment": {"min": 0.5, "prompt": "$prompt"}},
        "images": ["3"],
        "candidates": 2,
        "on_miss": {"reruns": 1, "set": {"prompt": "a red lighthouse", "cfg": 6.0}},
    },
}


def test_a_rerun_is_scored_by_the_params_that_it_has() -> None:
    workflow = check(inline_bundle(conform(Registration, BODY)))
    judged = gated(workflow, WorkflowJob(), workflow.graph, Schema(workflow.params))
    assert judged is not None
    [second] = first_candidates(judged.gate, lambda _: 8)
    assert second == {"2": {"seed": 8}}
    [rerun] = more_candidates(judged.gate, 1, lambda _: 9)
    graph = overlaid(judged.graph, rerun)
    assert graph["2"]["inputs"] == {"positive": ["1", 0], "seed": 9, "cfg": 6.0}
    assert graph["1"]["inputs"]["text"] == graph["fleet_prompt_alignment_3"]["inputs"]["prompt"] == "a red lighthouse"
