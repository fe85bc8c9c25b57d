"""The one thing that the node pack and the orchestrator share: both hold the same file."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import comfy_nodes
import orchestrator
from comfy_nodes.measures import Measure, Measured
from comfy_nodes.scores import Failed, Score, report
from orchestrator.domain import quality as domain
from orchestrator.quality.report import read_scores, scoring_s

OURS, THEIRS = (
    Path(package.__file__ or "").parent.joinpath(*folders, "report.schema.json")
    for package, folders in ((orchestrator, ("quality",)), (comfy_nodes, ()))
)


def test_both_sides_hold_the_same_schema() -> None:
    assert OURS.read_bytes() == THEIRS.read_bytes(), f"copy {THEIRS} to {OURS}"
    jsonschema.Draft202012Validator.check_schema(json.loads(OURS.read_text("utf-8")))


def test_what_the_pack_writes_is_what_the_orchestrator_reads() -> None:
    images = (Measured(0.9, 1.0), Failed("no classifier in models/classifiers"))
    written = report([Score(Measure("safety", "classifier", 1, "probability"), images, 0.5)])
    assert read_scores([written]) == {"safety": domain.Score(None, "no classifier in models/classifiers")}
    assert scoring_s([written]) == pytest.approx(0.5)
