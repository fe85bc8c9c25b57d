"""The nodes around the measures: a score that cannot be had is one with a reason, and the images always go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import comfy_nodes
from comfy_nodes.evidence.degradations import gaussian_blur
from comfy_nodes.evidence.pictures import photograph
from comfy_nodes.measures import Measure, Measured
from comfy_nodes.nodes import NODE_CLASS_MAPPINGS
from comfy_nodes.nodes.base import Scorer
from comfy_nodes.nodes.measured import FleetBrandColor, FleetReferenceSimilarity, FleetSharpness
from comfy_nodes.nodes.report import FleetGate, FleetReport
from comfy_nodes.scores import Failed, Score, parse_thresholds

HERE = Path(comfy_nodes.__file__).parent
SCHEMA = json.loads((HERE / "report.schema.json").read_text("utf-8"))
PICTURE = photograph("astronaut.png", 128)
SHARP = Measure("sharpness", "a", 1, "px")


class Faulty(Scorer):
    MEASURE = Measure("sharpness", "faulty", 1, "px")

    def judge(self, error: Exception | None = None, answer: float = float("nan")) -> Any:
        def judge(_picture: Any, index: int) -> Measured:
            if index == 1 and error is not None:
                raise error
            return Measured(answer, answer)

        return judge


def mixed() -> np.ndarray:
    black, broken = np.zeros_like(PICTURE), PICTURE.copy()
    broken[5, 5] = np.nan
    return np.stack([PICTURE, gaussian_blur(PICTURE, 4), black, broken])


def report_of(*scores: tuple[Score, ...]) -> dict[str, Any]:
    named = {f"score_{number}": score for number, score in enumerate(scores, 1)}
    [report] = FleetReport().gather(**named)["ui"]["fleet_report"]
    jsonschema.validate(json.loads(json.dumps(report, allow_nan=False)), SCHEMA)
    return report


def test_a_mixed_batch_has_a_score_for_each_image_and_goes_on_unchanged() -> None:
    batch = mixed()
    images, scores = FleetSharpness().score(batch)
    assert images is batch
    report = report_of(scores)
    [entry] = report["scores"]
    assert (report["version"], entry["dimension"], entry["measure"]) == (1, "sharpness", "edge-spread/1")
    sharp, blurred, black, broken = entry["images"]
    assert sharp["value"] > 0.8 > 0.3 > blurred["value"]
    assert (black["value"], broken["value"]) == (0, 0)
    assert "no structure" in black["reason"]
    assert "NaN" in broken["reason"]


def test_a_score_is_the_same_alone_and_in_a_batch() -> None:
    batch = mixed()
    for name, node in NODE_CLASS_MAPPINGS.items():
        if not issubclass(node, Scorer) or node.further_inputs().get("required"):
            continue
        _, [together] = node().score(batch)
        alone = [node().score(batch[index : index + 1])[1][0].images[0] for index in range(len(batch))]
        assert list(together.images) == alone, name


@pytest.mark.parametrize("error", [MemoryError("out of memory"), RuntimeError("CUDA out of memory"), KeyError("x")])
def test_an_error_fails_the_score_of_its_image_alone(error: Exception) -> None:
    images = np.stack([PICTURE] * 3)
    passed_on, scores = Faulty().score(images, error=error, answer=0.5)
    assert passed_on is images
    values = [image["value"] for image in report_of(scores)["scores"][0]["images"]]
    assert values == [0.5, None, 0.5]
    assert type(error).__name__ in report_of(scores)["scores"][0]["images"][1]["reason"]


def test_nan_is_no_score() -> None:
    _, scores = Faulty().score(PICTURE[None])
    [image] = report_of(scores)["scores"][0]["images"]
    assert image["value"] is None
    assert "NaN" in image["reason"]


def test_what_is_wrong_with_the_inputs_fails_all_images_with_the_reason() -> None:
    _, scores = FleetBrandColor().score(np.stack([PICTURE] * 2), colors="orange", coverage=0.1)
    assert [image.reason for image in scores[0].images] == ["'orange' is no colour: write colours as #RRGGBB, with commas between"] * 2  # fmt: skip  # noqa: E501


def test_references_are_one_for_all_or_one_for_each() -> None:
    other = gaussian_blur(PICTURE, 3)
    images = np.stack([PICTURE, other])
    node = FleetReferenceSimilarity()
    _, [paired] = node.score(images, reference=images)
    _, [single] = node.score(images, reference=images[:1])
    values = [[image.value for image in score.images] for score in (paired, single)]
    assert values[0] == pytest.approx([1, 1], abs=0.06)
    assert values[1][1] < 0.7
    _, [short] = node.score(np.stack([PICTURE] * 3), reference=images)
    assert isinstance(short.images[2], Failed)
    assert "one for each image" in short.images[2].reason


def test_a_reference_of_another_framing_is_named() -> None:
    _, [score] = FleetReferenceSimilarity().score(PICTURE[None], reference=PICTURE[None, :64])
    assert score.images[0] == Failed("the reference has another framing (128x64 to 128x128): crop it as the image is")


def test_reports_may_be_chained() -> None:
    _, scores = FleetSharpness().score(PICTURE[None])
    first = FleetReport().gather(score_2=scores)["result"][0]
    assert [entry["dimension"] for entry in report_of(first, scores)["scores"]] == ["sharpness", "sharpness"]


def test_a_report_takes_more_scores_than_the_editor_shows_in_their_order() -> None:
    named = {f"score_{number}": scored(number / 20) for number in (13, 2, 1)}
    [report] = FleetReport().gather(**named)["ui"]["fleet_report"]
    assert [entry["images"][0]["value"] for entry in report["scores"]] == [0.05, 0.1, 0.65]


def test_a_report_can_be_read() -> None:
    scores = (
        *scored(0.951, None),
        Score(Measure("safety", "a", 1, "p"), (Measured(0, None, "the image is black"),), 0),
    )
    assert FleetReport().gather(score_1=scores)["result"] == (
        scores,
        "sharpness: 0.95, no weights\nsafety: 0.00 (the image is black)",
    )


def scored(*values: float | None) -> tuple[Score, ...]:
    images = tuple(Failed("no weights") if value is None else Measured(value, value) for value in values)
    return (Score(SHARP, images, 0.1),)


def test_the_gate_passes_what_reaches_the_threshold() -> None:
    images = np.arange(3)[:, None, None, None]
    (passed,) = FleetGate().decide(scored(0.5, 0.49, None), "sharpness: 0.5", "block", images=images)
    assert passed.ravel().tolist() == [0]
    (passed,) = FleetGate().decide(scored(0.5, 0.49, None), "sharpness >= 0.5", "pass", images=images)
    assert passed.ravel().tolist() == [0, 2]


def test_the_gate_computes_only_what_it_passes_on() -> None:
    ask = FleetGate().check_lazy_status
    lazy = {"images": None, "otherwise": None}
    assert ask(scored(0.9), "sharpness: 0.5", "block", **lazy) == ["images"]
    assert ask(scored(0.1), "sharpness: 0.5", "block", **lazy) == ["otherwise"]
    assert ask(scored(0.1), "sharpness: 0.5", "block", images=None) == []
    assert ask(scored(0.9), "sharpness: 0.5", "block", images=PICTURE[None]) == []
    (passed,) = FleetGate().decide(scored(0.1), "sharpness: 0.5", "block", otherwise="another attempt")
    assert passed == "another attempt"


def test_the_gate_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="no score of artifacts is connected"):
        FleetGate().decide(scored(0.9), "artifacts: 0.5", "block", images=PICTURE[None])
    with pytest.raises(ValueError, match="2 images came and 1 were scored"):
        FleetGate().decide(scored(0.9), "sharpness: 0.5", "block", images=np.stack([PICTURE] * 2))
    assert FleetGate.VALIDATE_INPUTS("sharpness: 0.5") is True
    assert FleetGate.VALIDATE_INPUTS() is True


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "sharpness",
        "sharpness: 1.5",
        "sharpness: 0.5.1",
        "sharpness: .",
        "sharpness: 0.5 and more",
        "Sharpness: 0.5",
    ],
)
def test_what_is_no_threshold_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="threshold"):
        parse_thresholds(text)
    assert "threshold" in str(FleetGate.VALIDATE_INPUTS(text))


def test_thresholds_are_read_from_lines_and_commas() -> None:
    assert parse_thresholds("sharpness: 0.35, artifacts=0.6\nsafety >= 1") == {
        "sharpness": 0.35,
        "artifacts": 0.6,
        "safety": 1,
    }
    assert parse_thresholds("sharpness: .5") == {"sharpness": 0.5}


@pytest.mark.parametrize("name", NODE_CLASS_MAPPINGS)
def test_every_input_and_output_is_explained(name: str) -> None:
    node = NODE_CLASS_MAPPINGS[name]
    assert node.DESCRIPTION
    assert node.CATEGORY == "fleet/quality"
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS)
    for inputs in node.INPUT_TYPES().values():
        for input_name, (_, options) in inputs.items():
            assert options["tooltip"], input_name


@pytest.mark.parametrize("path", sorted(HERE.glob("example_workflows/*.json")), ids=lambda path: path.stem)
def test_examples_fit_the_nodes(path: Path) -> None:
    graph = json.loads(path.read_text("utf-8"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    for number, source, slot, target, place, kind in graph["links"]:
        assert nodes[target]["inputs"][place]["type"] == kind
        assert kind in (nodes[source]["outputs"][slot]["type"], "*")
        assert number in nodes[source]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][place]["link"] == number
    for node in nodes.values():
        if node["type"] not in NODE_CLASS_MAPPINGS:
            continue
        ours = NODE_CLASS_MAPPINGS[node["type"]]
        inputs = {name: spec[0] for group in ours.INPUT_TYPES().values() for name, spec in group.items()}
        assert [output["type"] for output in node["outputs"]] == list(ours.RETURN_TYPES)
        assert all(inputs[entry["name"]] == entry["type"] for entry in node["inputs"])
        widgets = [name for name, kind in inputs.items() if kind in ("STRING", "FLOAT") or isinstance(kind, list)]
        assert len(node["widgets_values"]) == len(widgets)
        linked = {entry["name"] for entry in node["inputs"]} | set(widgets)
        assert set(ours.INPUT_TYPES().get("required", {})) <= linked
