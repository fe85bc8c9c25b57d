"""The workflows that ship: every file fits the others, and both recorded ComfyUIs would take the result."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.domain.needs import ModelRef
from orchestrator.domain.workflow import Binding, ParamKind
from orchestrator.errors import InvalidRequest
from orchestrator.graph.bind import patch, resolve
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.needs import needs
from orchestrator.graph.params import Schema
from orchestrator.graph.parse import parse
from orchestrator.graph.shape import Graph, title
from orchestrator.graph.stage import asset_ids
from orchestrator.graph.validate import validate
from orchestrator.simulator.comfyui.config import PROFILES, SimConfig
from orchestrator.simulator.comfyui.files import Files
from orchestrator.simulator.comfyui.nodes.registry import NodeClasses

ROOT = Path(__file__).parents[2]
REGISTRATIONS = sorted((ROOT / "workflows").glob("*.yaml"))
ASSETS = {"image": f"ast_{'0123456789' * 4}", "mask": f"ast_{'abcdef0123' * 4}"}

SD15 = ModelRef("checkpoints", "v1-5-pruned-emaonly-fp16.safetensors")
SDXL = ModelRef("checkpoints", "sd_xl_base_1.0.safetensors")
REFINER = ModelRef("checkpoints", "sd_xl_refiner_1.0.safetensors")
LORA = ModelRef("loras", "detail_tweaker_lora.safetensors")
CANNY = ModelRef("controlnet", "control_v11p_sd15_canny_fp16.safetensors")
UPSCALER = ModelRef("upscale_models", "RealESRGAN_x4plus.safetensors")

MODELS = {
    "hello": (),
    "image-invert": (),
    "image-resize": (),
    "image-upscale": (UPSCALER,),
    "sd15-controlnet-canny": (SD15, CANNY),
    "sd15-hires-fix": (SD15, UPSCALER),
    "sd15-img2img": (SD15,),
    "sd15-lora": (SD15, LORA),
    "sd15-txt2img": (SD15,),
    "sd15-variations": (SD15,),
    "sdxl-base-refiner": (SDXL, REFINER),
    "sdxl-inpaint-masked": (SDXL,),
}


class Shipped:
    """A registration file with the graph and the schema that it names."""

    def __init__(self, path: Path) -> None:
        self.document: Mapping[str, Any] = yaml.safe_load(path.read_text())
        self.name: str = self.document["name"]
        self.graph: Graph = parse(json.loads((path.parent / self.document["graph"]).read_text()))
        self.schema = Schema(json.loads((path.parent / self.document["params"]).read_text()))
        self.bind: Mapping[str, Binding] = resolve(self.graph, self.document["bind"])

    @property
    def least(self) -> dict[str, Any]:
        """Only what a caller must give."""
        return {name: ASSETS.get(name, "a lighthouse") for name in self.schema.document.get("required", ())}

    def patched(self, params: Mapping[str, Any]) -> Graph:
        drawn = {name: low for name, (low, _) in self.schema.seeds(self.bind).items()}
        return patch(self.graph, self.bind, self.schema.complete(params, drawn))


@pytest.fixture(params=REGISTRATIONS, ids=lambda path: path.stem)
def shipped(request: pytest.FixtureRequest) -> Shipped:
    return Shipped(request.param)


@pytest.fixture(scope="module", params=PROFILES)
def catalog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """What a ComfyUI of each recorded version offers, holding the simulator's model files."""
    classes = NodeClasses(SimConfig(version=request.param), Files(tmp_path_factory.mktemp("comfyui")))
    return Catalog.parse(classes.object_info(list(classes)))


def test_every_workflow_is_expected_and_every_file_is_of_one():
    names = {path.stem for path in REGISTRATIONS}
    assert {name.replace("_", "-") for name in names} == set(MODELS)
    assert {path.name.removesuffix(".api.json") for path in (ROOT / "workflows").glob("*.json")} == names
    assert {path.name.removesuffix(".schema.json") for path in (ROOT / "params").iterdir()} == names


def test_names_of_files_are_names_of_workflows(shipped: Shipped):
    stem = shipped.name.replace("-", "_")
    assert shipped.document["graph"] == f"{stem}.api.json"
    assert shipped.document["params"] == f"../params/{stem}.schema.json"
    assert shipped.document["description"]


def test_schema_and_bindings_name_the_same_params(shipped: Shipped):
    shipped.schema.check_bind(shipped.bind)


def test_both_versions_take_it_with_defaults(shipped: Shipped, catalog: Catalog):
    validate(shipped.patched(shipped.least), catalog, shipped.document.get("outputs", ()))


def test_both_versions_take_every_extreme(shipped: Shipped, catalog: Catalog):
    for name, said in shipped.schema.properties.items():
        bounds = said.get("enum") or [said[end] for end in ("minimum", "maximum") if end in said]
        if name == "refiner_start" or (shipped.name, name) == ("sdxl-base-refiner", "steps"):
            continue  # they go together: see below
        for value in bounds:
            validate(shipped.patched({**shipped.least, name: value}), catalog)


def test_examples_pass(shipped: Shipped, catalog: Catalog):
    examples = shipped.schema.document["examples"]
    assert examples
    for example in examples:
        validate(shipped.patched(example), catalog)
    for name, said in shipped.schema.properties.items():
        for value in said.get("examples", ()):
            shipped.schema.complete({**shipped.least, name: value})


def test_it_needs_the_models_that_it_says_and_simulated_fleets_have_them(shipped: Shipped, catalog: Catalog):
    asked = needs(shipped.patched(shipped.least), catalog)
    assert asked.models == tuple(sorted(MODELS[shipped.name]))
    assert set(asked.classes) == {node["class_type"] for node in shipped.graph.values()}
    assert not catalog.lacks(asked).classes
    assert not catalog.lacks(asked).models


def test_params_are_described_bounded_and_closed(shipped: Shipped):
    document = shipped.schema.document
    assert document["additionalProperties"] is False
    for name, said in document["properties"].items():
        assert said["title"], name
        assert said["description"].endswith("."), name
        if said["type"] in ("integer", "number"):
            assert "enum" in said or {"minimum", "maximum"} <= set(said) or name == "refiner_start", name
        else:
            assert "enum" in said or "maxLength" in said or "pattern" in said, name


def test_a_default_is_what_the_graph_was_exported_with(shipped: Shipped):
    for name, said in shipped.schema.properties.items():
        for node_id, input_name in shipped.bind[name].inputs:
            if "default" in said:
                assert shipped.graph[node_id]["inputs"][input_name] == said["default"], name


def test_a_seed_that_nobody_gives_is_drawn(shipped: Shipped):
    drawn = shipped.schema.seeds(shipped.bind)
    assert drawn == ({"seed": (0, 2147483647)} if "seed" in shipped.schema.properties else {})


def test_asset_params_are_staged(shipped: Shipped):
    kinds = {name: binding.kind for name, binding in shipped.bind.items() if binding.kind is not ParamKind.VALUE}
    assert kinds == {name: ParamKind(name) for name in ASSETS if name in shipped.schema.properties}
    assert set(asset_ids(shipped.patched(shipped.least))) == {ASSETS[name] for name in kinds}


def test_titles_tell_the_nodes_apart(shipped: Shipped):
    titles = [title(node) for node in shipped.graph.values()]
    assert all(titles)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    ("name", "params", "pointer"),
    [
        ("sdxl_base_refiner", {"steps": 51}, "/steps"),
        ("sdxl_base_refiner", {"cfg": 12.5}, "/cfg"),
        ("sdxl_base_refiner", {"width": 1000}, "/width"),
        ("sdxl_base_refiner", {"seed": 2147483648}, "/seed"),
        ("sdxl_base_refiner", {"prompt": "x" * 801}, "/prompt"),
        ("sd15_txt2img", {"width": 500}, "/width"),
        ("sd15_txt2img", {"sampler": "nonsense"}, "/sampler"),
        ("sd15_txt2img", {"stepz": 20}, "/stepz"),
        ("sd15_lora", {"lora": "../secret.safetensors"}, "/lora"),
        ("sd15_lora", {"lora": "model.ckpt"}, "/lora"),
        ("sd15_variations", {"count": 17}, "/count"),
        ("image_invert", {"image": "/etc/passwd"}, "/image"),
        ("hello", {"color": -1}, "/color"),
    ],
)
def test_what_costs_or_cannot_be_is_refused(name: str, params: dict[str, Any], pointer: str):
    shipped = Shipped(ROOT / "workflows" / f"{name}.yaml")
    with pytest.raises(InvalidRequest) as refused:
        shipped.patched({**shipped.least, **params})
    assert refused.value.code == "invalid_params"
    assert refused.value.details["pointer"] == pointer


def test_the_refiner_works_for_the_last_fifth_of_the_steps():
    shipped = Shipped(ROOT / "workflows" / "sdxl_base_refiner.yaml")
    for steps in shipped.schema.properties["steps"]["enum"]:
        start = steps * 4 // 5
        graph = shipped.patched({**shipped.least, "steps": steps, "refiner_start": start})
        base, refiner = graph["8"]["inputs"], graph["9"]["inputs"]
        assert base["steps"] == refiner["steps"] == steps
        assert base["end_at_step"] == refiner["start_at_step"] == start
        with pytest.raises(InvalidRequest, match=str(start)):
            shipped.patched({**shipped.least, "steps": steps, "refiner_start": start + 1})


def test_the_warmup_runs_one_step_and_leaves_no_file(catalog: Catalog):
    graph = parse(json.loads((ROOT / "ops" / "warmup.api.json").read_text()))
    validate(graph, catalog)
    assert needs(graph, catalog).models == (SDXL,)
    assert [node["inputs"]["steps"] for node in graph.values() if node["class_type"] == "KSampler"] == [1]
    assert "SaveImage" not in {node["class_type"] for node in graph.values()}
