"""Surgery: what is appended to a graph, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_nodes.nodes import NODE_CLASS_MAPPINGS
from comfy_nodes.nodes.base import Scorer as NodeOfPack
from orchestrator.domain.quality import Policy, Rule
from orchestrator.domain.workflow import Binding, ParamKind
from orchestrator.errors import InvalidRequest
from orchestrator.graph.scorers import SCORERS, with_scorers
from orchestrator.graph.validate import check_structure


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


GRAPH = {
    "1": node("LoadImage", image="face.png"),
    "2": node("CLIPTextEncode", text="a lighthouse", clip=["9", 1]),
    "3": node("Sampler", positive=["2", 0]),
    "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
    "5": node("Blend", overlay="veil.png", image=["3", 0]),
    "9": node("Loader", ckpt_name="a.safetensors"),
}
BIND = {
    "prompt": Binding((("2", "text"),)),
    "face": Binding((("1", "image"),), ParamKind.IMAGE),
    "veil": Binding((("5", "overlay"),), ParamKind.MASK),
}


def rule(dimension: str, **given: Any) -> Policy:
    return policy({dimension: Rule(given=given)})


def policy(rules: dict[str, Rule], *images: str) -> Policy:
    return Policy(rules, images or ("4",))


def test_the_author_s_nodes_stay_as_they_are() -> None:
    grown, report = with_scorers(GRAPH, policy({"sharpness": Rule(0.5), "artifacts": Rule()}), BIND)
    assert {node_id: grown[node_id] for node_id in GRAPH} == GRAPH
    assert grown["fleet_sharpness_4"] == node("FleetSharpness", images=["3", 0])
    assert grown[report] == node("FleetReport", score_1=["fleet_sharpness_4", 1], score_2=["fleet_artifacts_4", 1])
    check_structure(grown)


def test_each_judged_node_has_scorers_of_its_own() -> None:
    grown, report = with_scorers(GRAPH, policy({"sharpness": Rule()}, "4", "5"), BIND)
    assert len(grown[report]["inputs"]) == 2
    assert grown["fleet_sharpness_5"]["inputs"]["images"] == ["3", 0]


def test_a_scorer_takes_what_the_job_s_params_are() -> None:
    rules = {
        "prompt_alignment": Rule(given={"prompt": "$prompt", "encoder": "clip-b32"}),
        "face_fidelity": Rule(given={"reference": "$face"}),
        "background_consistency": Rule(given={"mask": "$veil", "reference": ["3", 0]}),
    }
    grown, _ = with_scorers(GRAPH, policy(rules), BIND)
    assert grown["fleet_prompt_alignment_4"]["inputs"] == {
        "images": ["3", 0], "prompt": "a lighthouse", "encoder": "clip-b32",
    }  # fmt: skip
    assert grown["fleet_face_fidelity_4"]["inputs"]["reference"] == ["1", 0]  # loaded by the graph already
    assert grown["fleet_background_consistency_4"]["inputs"]["mask"] == ["fleet_load_veil", 0]
    assert grown["fleet_background_consistency_4"]["inputs"]["reference"] == ["3", 0]  # made by the graph itself
    assert grown["fleet_load_veil"] == node("LoadImageMask", image="veil.png", channel="red")
    check_structure(grown)


@pytest.mark.parametrize(
    ("policy", "pointer", "words"),
    [
        (policy({"sharpnes": Rule()}), "/scores/sharpnes", "there is sharpness"),
        (policy({"sharpness": Rule()}, "7"), "/images/0", "does not have"),
        (policy({"sharpness": Rule()}, "4", "2"), "/images/1", "takes no pictures"),
        (rule("safety", unsafe="$fase"), "/scores/safety/unsafe", "it has face"),
        (rule("safety", unsafe="$face"), "/scores/safety/unsafe", "takes a param of kind value, and face is .* image"),
        (rule("safety", unsafe=False), "/scores/safety/unsafe", "takes text or a number, not a boolean: .* quotes"),
        (rule("safety", unsafe=["a", "b"]), "/scores/safety/unsafe", "takes text or a number, not a list"),
        (rule("safety"), "/scores/safety", "safety needs unsafe"),
        (rule("sharpness", mim=0.5), "/scores/sharpness/mim", 'takes no "mim"; it takes min$'),
        (rule("artifacts", reference="$face"), "/scores/artifacts/reference", "it takes min, weight$"),
        (rule("face_fidelity", reference="face.png"), "/scores/face_fidelity/reference", "a param of kind image"),
        (rule("face_fidelity", reference="$veil"), "/scores/face_fidelity/reference", "and veil is bound as kind mask"),
        (rule("face_fidelity", reference=["7", 0]), "/scores/face_fidelity/reference", "node .7., which the graph"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused(policy: Policy, pointer: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        with_scorers(GRAPH, policy, BIND)
    assert (refused.value.code, refused.value.details["pointer"]) == ("invalid_quality", pointer)


@pytest.mark.parametrize("dimension", SCORERS)
def test_every_dimension_has_a_node_with_those_inputs(dimension: str) -> None:
    scorer = SCORERS[dimension]
    node_class = NODE_CLASS_MAPPINGS[scorer.class_type]
    assert node_class.MEASURE.dimension == dimension
    said = node_class.INPUT_TYPES()
    assert said["required"].pop("images")[0] == "IMAGE"
    kinds = {"IMAGE": ParamKind.IMAGE, "MASK": ParamKind.MASK}
    for inputs, part in ((scorer.required, "required"), (scorer.optional, "optional")):
        assert inputs == {name: kinds.get(str(spec[0]), ParamKind.VALUE) for name, spec in said[part].items()}


def test_every_node_that_scores_has_a_dimension() -> None:
    scorers = {name for name, node_class in NODE_CLASS_MAPPINGS.items() if issubclass(node_class, NodeOfPack)}
    assert {scorer.class_type for scorer in SCORERS.values()} == scorers
