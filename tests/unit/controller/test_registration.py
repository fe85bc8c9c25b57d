"""Every refusal of a registration names file, line and JSON pointer, and says what to change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.controller.registration import check, inline_bundle, read_bundle
from orchestrator.controller.requests import Registration, conform
from orchestrator.domain.job import Priority
from orchestrator.domain.workflow import Binding, ParamKind, Workflow
from orchestrator.errors import InvalidRequest
from orchestrator.graph.catalog import Catalog

YAML = """\
name: portrait
description: A portrait
graph: graphs/portrait.api.json
params: ../params/portrait.schema.json
bind:
  prompt: ["4.text", "@Negative.text"]
  seed: "3.seed"
  image: {input: "1.image", kind: image}
outputs: ["9"]
pool: big
timeout_s: 300
retries: 1
priority: high
"""
GRAPH: dict[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "3": {"class_type": "KSampler", "inputs": {"seed": 5, "image": ["1", 0], "text": ["4", 0]}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}},
    "5": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry"}, "_meta": {"title": "Negative"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "default": "a dog"},
        "seed": {"type": "integer", "minimum": 0},
        "image": {"type": "string"},
    },
    "required": ["image"],
}


class Files:
    """The three files of a workflow, as good as they come, to be spoilt by a test."""

    def __init__(self, root: Path) -> None:
        self.yaml = root / "workflows" / "portrait.yaml"
        self.graph = root / "workflows" / "graphs" / "portrait.api.json"
        self.schema = root / "params" / "portrait.schema.json"
        for file in (self.graph, self.schema):
            file.parent.mkdir(parents=True)
        self.yaml.write_text(YAML)
        self.graph.write_text(json.dumps(GRAPH, indent=2))
        self.schema.write_text(json.dumps(SCHEMA, indent=2))

    def spoil(self, file: Path, old: str, new: str) -> None:
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
        file.write_text(text.replace(old, new))

    def check(self, catalog: Catalog | None = None) -> Workflow:
        return check(read_bundle(self.yaml), catalog)

    def refusal(self, catalog: Catalog | None = None) -> InvalidRequest:
        with pytest.raises(InvalidRequest) as refused:
            self.check(catalog)
        return refused.value


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def catalog(**output_nodes: bool) -> Catalog:
    info = {name: {"input": {}, "output": [], "output_node": is_output} for name, is_output in output_nodes.items()}
    return Catalog.parse(info)


def test_three_good_files_make_a_workflow(files: Files) -> None:
    workflow = files.check()
    assert workflow == Workflow(
        name="portrait",
        version=0,
        digest=workflow.digest,
        graph=GRAPH,
        params=SCHEMA,
        bind={
            "prompt": Binding((("4", "text"), ("5", "text"))),
            "seed": Binding((("3", "seed"),)),
            "image": Binding((("1", "image"),), ParamKind.IMAGE),
        },
        description="A portrait",
        outputs=("9",),
        pool="big",
        timeout_s=300.0,
        retries=1,
        priority=Priority.HIGH,
    )


def test_the_digest_is_of_the_content_alone(files: Files) -> None:
    digest = files.check().digest
    files.yaml.write_text("# said differently\n" + YAML.replace('"@Negative.text"', '"5.text"'))
    files.graph.write_text(json.dumps(dict(reversed(GRAPH.items()))))
    assert files.check().digest == digest
    files.spoil(files.yaml, "retries: 1", "retries: 2")
    assert files.check().digest != digest


def test_over_http_it_is_the_same_workflow(files: Files) -> None:
    bundle = read_bundle(files.yaml)
    body = json.loads(json.dumps(bundle.inline()))
    assert check(inline_bundle(conform(Registration, body))) == check(bundle)


Spoil = Callable[[Files], object]


def in_yaml(old: str, new: str) -> Spoil:
    return lambda files: files.spoil(files.yaml, old, new)


def in_graph(**nodes: Any) -> Spoil:
    return lambda files: files.graph.write_text(json.dumps(GRAPH | nodes, indent=2))


def in_schema(**changes: Any) -> Spoil:
    def spoil(files: Files) -> None:
        files.schema.write_text(json.dumps(SCHEMA | changes, indent=2))

    return spoil


def with_property(name: str, said: Any) -> Spoil:
    return in_schema(properties=SCHEMA["properties"] | {name: said})


YAML_REFUSALS = [
    ("an unknown key", in_yaml("pool: big", "pol: big"), "invalid_registration", "/pol", 10, "did you mean 'pool'"),
    (
        "a gate without scores",
        in_yaml("pool: big", "quality: {}"),
        "invalid_registration",
        "/quality/scores",
        10,
        "req",
    ),
    ("a bad name", in_yaml("name: portrait", "name: My Portrait"), "invalid_registration", "/name", 1, "lower-case"),
    ("a number as name", in_yaml("name: portrait", "name: 7"), "invalid_registration", "/name", 1, "string"),
    ("a bad timeout", in_yaml("timeout_s: 300", "timeout_s: -1"), "invalid_registration", "/timeout_s", 11, "greater"),
    ("bad retries", in_yaml("retries: 1", "retries: many"), "invalid_registration", "/retries", 12, "integer"),
    (
        "a dimension that is none",
        in_yaml("retries: 1", "quality: {scores: {sharp: {}}, images: ['9']}"),
        "invalid_quality",
        "/quality/scores/sharp",
        12,
        "sharpness",
    ),
    (
        "judged by what is none",
        in_yaml("retries: 1", "quality: {scores: {sharpness: {min: 0.5}}, images: ['7']}"),
        "invalid_quality",
        "/quality/images/0",
        12,
        "does not have",
    ),
    (
        "a minimum beyond 1",
        in_yaml("retries: 1", "quality: {scores: {sharpness: {min: 2}}, images: ['9']}"),
        "invalid_registration",
        "/quality/scores/sharpness/min",
        12,
        "less",
    ),
    (
        "more delivered than made",
        in_yaml("retries: 1", "quality: {scores: {sharpness: {min: 0.5}}, images: ['9'], deliver: 2}"),
        "invalid_quality",
        "/quality/deliver",
        12,
        "make more",
    ),
    (
        "a bound below",
        in_yaml(
            "retries: 1", "quality: {scores: {sharpness: {min: 0.5}}, images: ['9'], candidates: 3, max_candidates: 2}"
        ),
        "invalid_quality",
        "/quality/max_candidates",
        12,
        "less than",
    ),
    (
        "a reseed of nothing",
        in_yaml(
            "retries: 1",
            "quality: {scores: {sharpness: {min: 0.5}}, images: ['9'], candidates: 2, on_miss: {reseed: sed}}",
        ),
        "invalid_quality",
        "/quality/on_miss/reseed",
        12,
        "did you mean 'seed'",
    ),
    (
        "a reseed of text",
        in_yaml(
            "retries: 1",
            "quality: {scores: {sharpness: {min: 0.5}}, images: ['9'], candidates: 2, on_miss: {reseed: prompt}}",
        ),
        "invalid_quality",
        "/quality/on_miss/reseed",
        12,
        "integer",
    ),
    (
        "a rerun with a bad param",
        in_yaml(
            "retries: 1",
            "quality: {scores: {sharpness: {min: 0.5}}, images: ['9'], on_miss: {reruns: 1, set: {seed: -1}}}",
        ),
        "invalid_quality",
        "/quality/on_miss/set/seed",
        12,
        "at least 0",
    ),
    (
        "a reference that is no param",
        in_yaml("retries: 1", "quality: {scores: {safety: {unsafe: $modl}}, images: ['9']}"),
        "invalid_quality",
        "/quality/scores/safety/unsafe",
        12,
        "no such param",
    ),
    ("a bad priority", in_yaml("priority: high", "priority: top"), "invalid_registration", "/priority", 13, "'low'"),
    ("no graph", in_yaml("graph: graphs/portrait.api.json\n", ""), "invalid_registration", "/graph", None, "required"),
    ("a graph that is not there", in_yaml("portrait.api", "x.api"), "file_unreadable", "/graph", 3, "No such file"),
    ("a graph in place", in_yaml("graphs/portrait.api.json", "{a: 1}"), "invalid_registration", "/graph", 3, "path"),
    ("an unknown output", in_yaml('["9"]', '["9", "19"]'), "invalid_registration", "/outputs/1", 9, "did you mean '9'"),
    ("an output as number", in_yaml('["9"]', "[9]"), "invalid_registration", "/outputs/0", 9, "string"),
    ("no such node", in_yaml("4.text", "44.text"), "invalid_binding", "/bind/prompt/0", 6, "no node"),
    ("no such title", in_yaml("@Negative", "@Positive"), "invalid_binding", "/bind/prompt/1", 6, "Positive"),
    ("no such input", in_yaml("3.seed", "3.sed"), "invalid_binding", "/bind/seed", 7, "seed"),
    ("a link", in_yaml("3.seed", "3.text"), "invalid_binding", "/bind/seed", 7, "linked"),
    ("no dot", in_yaml('"3.seed"', '"seed"'), "invalid_binding", "/bind/seed", 7, "NODE.INPUT"),
    ("an unknown kind", in_yaml("kind: image", "kind: picture"), "invalid_binding", "/bind/image/kind", 8, "picture"),
    ("not in the schema", in_yaml("  seed:", "  sead:"), "invalid_binding", "/bind/sead", 7, "no property"),
    ("a duplicate key", in_yaml("pool: big", "retries: 3"), "duplicate_key", "/retries", 12, "retries"),
    ("broken YAML", in_yaml('["9"]', '["9"'), "invalid_yaml", None, 10, "not valid YAML"),
]


GATE_REFUSALS = [
    ("scores: {}", "/quality/scores", "must not be empty"),
    ("scores: {sharpness: 0.5}", "/quality/scores/sharpness", "must be an object"),
    ("scores: {sharpness: {min: yes}}", "/quality/scores/sharpness/min", "valid number"),
    ("scores: {sharpness: {min: .nan}}", "/quality/scores/sharpness/min", "less than or equal to 1"),
    ("scores: {sharpness: {weight: 0}}", "/quality/scores/sharpness/weight", "greater than 0"),
    ("scores: {sharpness: {weight: .inf}}", "/quality/scores/sharpness/weight", "less than or equal to 1000"),
    ("scores: {sharpness: {mim: 0.5}}", "/quality/scores/sharpness/mim", "it takes min"),
    ("scores: {face_fidelity: {}}", "/quality/scores/face_fidelity", "face_fidelity needs reference"),
    ("scores: {face_fidelity: {reference: $prompt}}", "/quality/scores/face_fidelity/reference", "kind image"),
    ("candidats: 3", "/quality/candidats", "unknown key"),
    ("candidates: 0", "/quality/candidates", "greater than or equal to 1"),
    ("images: ['9', '9']", "/quality/images/1", 'names "9" twice'),
    ("images: ['4']", "/quality/images/0", "takes no pictures"),
    ("on_miss: {set: {prompt: x}}", "/quality/on_miss/set", "give on_miss.reruns"),
    ("on_miss: {reruns: 1, set: {seed: 4}}", "/quality/on_miss/set/seed", "leave it out of set"),
    ("on_miss: {reruns: 1, set: {image: x}}", "/quality/on_miss/set/image", "holds an asset"),
    ("on_miss: {reruns: 1, set: {cfg: 6}}", "/quality/on_miss/set/cfg", "is no param"),
    ("max_candidates: 9, on_miss: {reseed: steps}", "/quality/on_miss/reseed", "8 values, and a job may have 9 runs"),
    ("otherwise: explode", "/quality/otherwise", "'fail', 'flag' or 'review'"),
    ("review: {otherwise: review}", "/quality/review/otherwise", "ends with fail or flag"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "pointer", "says"), GATE_REFUSALS)
def test_a_gate_that_makes_no_sense_is_refused(files: Files, said: str, pointer: str, says: str) -> None:
    with_property("steps", {"type": "integer", "minimum": 1, "maximum": 8})(files)
    files.spoil(files.yaml, "bind:", "bind:\n  steps: '3.steps'")
    files.spoil(files.graph, '"seed": 5,', '"seed": 5, "steps": 4,')
    key, _, value = said.partition(": ")
    gate = {"scores": "{sharpness: {min: 0.5}}", "images": "['9']", key: value}
    files.spoil(files.yaml, "retries: 1", f"quality: {{{', '.join(': '.join(each) for each in gate.items())}}}")
    refusal = files.refusal()
    assert refusal.details["pointer"] == pointer
    assert says in refusal.message


def test_only_an_output_node_is_judged(files: Files) -> None:
    files.spoil(files.yaml, "retries: 1", "quality: {scores: {sharpness: {}}, images: ['3']}")
    assert files.check().quality is not None  # nobody knows yet what a worker that joins has
    refusal = files.refusal(catalog(KSampler=False, SaveImage=True))
    assert (refusal.code, refusal.details["pointer"]) == ("invalid_quality", "/quality/images/0")
    assert "KSampler is not an output node" in refusal.message


@pytest.mark.parametrize(
    ("spoil", "code", "pointer", "line", "says"),
    [case[1:] for case in YAML_REFUSALS],
    ids=[c[0] for c in YAML_REFUSALS],
)
def test_what_is_wrong_in_the_yaml(
    files: Files, spoil: Spoil, code: str, pointer: str | None, line: int | None, says: str
) -> None:
    spoil(files)
    refusal = files.refusal()
    assert (refusal.code, refusal.details.get("pointer"), refusal.details.get("line")) == (code, pointer, line)
    assert refusal.details["file"] == str(files.yaml)
    assert refusal.message.startswith(f"{files.yaml}:{line}: " if line else f"{files.yaml}: ")
    assert says in refusal.message


OTHER_REFUSALS = [
    ("a UI export", "graph", lambda f: f.graph.write_text('{"nodes": []}'), "workflow_format_ui", "", None),
    ("an empty graph", "graph", lambda f: f.graph.write_text("{}"), "invalid_workflow", "", None),
    ("a node without class", "graph", in_graph(**{"7": {"inputs": {}}}), "invalid_workflow", "/7", 47),
    (
        "a dangling link", "graph", in_graph(**{"9": {"class_type": "SaveImage", "inputs": {"images": ["33", 0]}}}),
        "invalid_workflow", "/9/inputs/images", 40,
    ),
    (
        "a cycle", "graph", in_graph(**{"1": {"class_type": "LoadImage", "inputs": {"image": "x", "m": ["3", 0]}}}),
        "invalid_workflow", "/1", 2,
    ),
    ("no JSON", "graph", lambda f: f.graph.write_text('{\n"1": }'), "invalid_json", "", 2),
    ("not JSON Schema", "schema", with_property("seed", {"type": "int"}), "invalid_schema", "/properties/seed/type", 9),
    ("a bad default", "schema", with_property("seed", {"type": "integer", "default": "x"}), "invalid_schema",
     "/properties/seed/default", 10),
    ("a default that is a link", "schema", with_property("seed", {"default": ["4", 0]}), "invalid_schema",
     "/properties/seed/default", 9),
    ("an unbound param", "schema", with_property("steps", {"type": "integer"}), "invalid_binding",
     "/properties/steps", 15),
    ("an asset that is a number", "schema", with_property("image", {"type": "integer"}), "invalid_binding",
     "/properties/image/type", 13),
    ("not of an object", "schema", in_schema(type="array"), "invalid_schema", "/type", 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "spoil", "code", "pointer", "line"),
    [case[1:] for case in OTHER_REFUSALS],
    ids=[c[0] for c in OTHER_REFUSALS],
)
def test_what_is_wrong_in_the_other_files(
    files: Files, where: str, spoil: Spoil, code: str, pointer: str | None, line: int | None
) -> None:
    spoil(files)
    refusal = files.refusal()
    assert (refusal.code, refusal.details.get("pointer"), refusal.details.get("line")) == (code, pointer, line)
    file = getattr(files, where)
    assert Path(refusal.details["file"]).resolve() == file.resolve()
    assert refusal.message.startswith(f"{refusal.details['file']}:{line}: " if line else refusal.details["file"])


def test_a_graph_without_output_node_is_refused_where_that_can_be_known(files: Files) -> None:
    everything = dict.fromkeys(("LoadImage", "KSampler", "CLIPTextEncode", "SaveImage"), False)
    assert files.check(catalog(**{**everything, "SaveImage": True})).outputs == ("9",)
    assert files.check(catalog(LoadImage=False)).outputs == ("9",)  # SaveImage may come with another worker
    files.spoil(files.yaml, 'outputs: ["9"]\n', "")
    refusal = files.refusal(catalog(**everything))
    assert (refusal.code, refusal.details["file"]) == ("invalid_workflow", str(files.graph))
    assert "no output node" in refusal.message


def test_a_wanted_output_that_is_no_output_node_is_refused(files: Files) -> None:
    files.spoil(files.yaml, '["9"]', '["9", "4"]')
    refusal = files.refusal(catalog(CLIPTextEncode=False, SaveImage=True))
    assert (refusal.code, refusal.details["pointer"], refusal.details["line"]) == (
        "invalid_registration",
        "/outputs/1",
        9,
    )


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"graph": {"nodes": [], "links": []}}, "workflow_format_ui", "/graph"),
        ({"graph": GRAPH | {"7": {"inputs": {}}}}, "invalid_workflow", "/graph/7"),
        (
            {"graph": GRAPH | {"9": {"class_type": "SaveImage", "inputs": {"images": ["33", 0]}}}},
            "invalid_workflow",
            "/graph/9/inputs/images",
        ),
        ({"graph": "portrait.api.json"}, "invalid_workflow", "/graph"),
        ({"params": {**SCHEMA, "type": "array"}}, "invalid_schema", "/params/type"),
        ({"params": "portrait.schema.json"}, "invalid_schema", "/params"),
        ({"bind": {"prompt": ["4.text", "44.text"]}}, "invalid_binding", "/bind/prompt/1"),
        ({"bind": {"prompt": "4.text", "seed": "3.seed"}}, "invalid_binding", "/params/properties/image"),
        ({"outputs": ["19"]}, "invalid_registration", "/outputs/0"),
    ],
)
def test_over_http_pointers_lead_into_the_body(files: Files, change: dict[str, Any], code: str, pointer: str) -> None:
    body = read_bundle(files.yaml).inline() | change
    with pytest.raises(InvalidRequest) as refused:
        check(inline_bundle(conform(Registration, body)))
    assert (refused.value.code, refused.value.details["pointer"]) == (code, pointer)
    assert "file" not in refused.value.details
    listed = refused.value.details.get("node_errors", ())
    assert all(problem["pointer"].startswith(pointer) for problem in listed[:1])


def test_registering_leaves_its_documents_alone(files: Files) -> None:
    bundle = read_bundle(files.yaml)
    before = json.dumps([bundle.graph.value, bundle.params.value])
    workflow = check(bundle)
    assert json.dumps([bundle.graph.value, bundle.params.value]) == before
    assert replace(workflow, digest="") != workflow
