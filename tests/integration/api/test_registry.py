"""Workflows and their versions on a real store: from a folder, over HTTP, and by more than one controller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.controller.catalogs import Catalogs
from orchestrator.controller.intake import Intake
from orchestrator.controller.registry import Registry
from orchestrator.controller.requests import WorkflowJob, conform
from orchestrator.store.redis import RedisStore
from tests.integration.api.client import GRAPH, WORKFLOW, Api
from tests.integration.api.double import WorkerDouble

ROOT = Path(__file__).parents[3]


def changed(description: str) -> dict[str, Any]:
    return {**WORKFLOW, "description": description}


def write(folder: Path, name: str, **changes: Any) -> None:
    (folder / f"{name}.api.json").write_text(json.dumps(GRAPH))
    (folder / f"{name}.schema.json").write_text(json.dumps(WORKFLOW["params"]))
    document = {**WORKFLOW, "name": name, "graph": f"{name}.api.json", "params": f"{name}.schema.json", **changes}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))


async def test_the_same_content_is_the_same_version(api: Api) -> None:
    first = (await api.post("/v1/workflows", WORKFLOW)).json
    again = (await api.post("/v1/workflows", dict(reversed(WORKFLOW.items())))).json
    assert first == again
    assert (first["version"], first["active"]) == (1, True)
    second = (await api.post("/v1/workflows", changed("another"))).json
    assert (second["version"], second["active"]) == (2, True)
    back = (await api.post("/v1/workflows", WORKFLOW)).json
    assert (back["version"], back["active"]) == (1, False)
    assert back["digest"] == first["digest"] != second["digest"]


async def test_versions_are_shown_and_activated(api: Api) -> None:
    for description in ("one", "two", "three"):
        await api.post("/v1/workflows", changed(description))
    versions = (await api.get("/v1/workflows/blank/versions")).json["workflows"]
    assert [(each["version"], each["active"], each["description"]) for each in versions] == [
        (1, False, "one"),
        (2, False, "two"),
        (3, True, "three"),
    ]
    rolled_back = await api.post("/v1/workflows/blank/activate", {"version": 1})
    assert (rolled_back.status, rolled_back.json["version"], rolled_back.json["active"]) == (200, 1, True)
    assert (await api.get("/v1/workflows/blank")).json["description"] == "one"
    assert (await api.get("/v1/workflows/blank?version=2")).json["description"] == "two"
    [listed] = (await api.get("/v1/workflows")).json["workflows"]
    assert (listed["version"], listed["description"]) == (1, "one")


async def test_a_workflow_is_shown_whole(api: Api, blank: str) -> None:
    shown = (await api.get("/v1/workflows/blank")).json
    assert shown["graph"] == GRAPH
    assert shown["params"] == WORKFLOW["params"]
    assert shown["bind"]["prefix"] == {"inputs": ["2.filename_prefix"], "kind": "value"}
    assert (await api.get("/v1/workflows/blank/schema")).json == WORKFLOW["params"]


async def test_a_job_is_pinned_to_the_version_that_was_active(api: Api) -> None:
    await api.post("/v1/workflows", changed("one"))
    body = {"params": {"prefix": "x"}}
    before = (await api.post("/v1/workflows/blank/jobs", body)).json
    await api.post("/v1/workflows", changed("two"))
    after = (await api.post("/v1/workflows/blank/jobs", body)).json
    pinned = (await api.post("/v1/workflows/blank/jobs", {**body, "version": 1})).json
    assert (before["version"], after["version"], pinned["version"]) == (1, 2, 1)
    assert (await api.get(f"/v1/jobs/{before['id']}")).json["version"] == 1


async def test_a_version_that_another_controller_activated_counts_at_once(api: Api, store: RedisStore) -> None:
    await api.post("/v1/workflows", changed("one"))
    await api.post("/v1/workflows", changed("two"))
    catalogs = Catalogs(store)
    registry = Registry(store, catalogs)
    other = Intake(store, registry, catalogs)
    body = conform(WorkflowJob, {"params": {"prefix": "x"}})
    assert (await other.submit_workflow("blank", body)).job.spec.version == 2
    await api.post("/v1/workflows/blank/activate", {"version": 1})
    assert (await other.submit_workflow("blank", body)).job.spec.version == 1


async def test_a_folder_is_loaded_and_a_bad_file_keeps_nobody_out(api: Api, tmp_path: Path) -> None:
    write(tmp_path, "good")
    write(tmp_path, "better", pool="big")
    write(tmp_path, "bad", bind={"width": "1.width", "prefix": "7.nothing"})
    (tmp_path / "worse.yaml").write_text("- not\n- a mapping\n")
    (tmp_path / "notes.txt").write_text("not a workflow")
    loaded = await api.services.registry.load_folder(tmp_path)
    assert [workflow.name for workflow in loaded.workflows] == ["better", "good"]
    assert [(refusal.code, refusal.details["file"]) for refusal in loaded.refused] == [
        ("invalid_binding", str(tmp_path / "bad.yaml")),
        ("invalid_registration", str(tmp_path / "worse.yaml")),
    ]
    again = await api.services.registry.load_folder(tmp_path)
    assert [workflow.version for workflow in again.workflows] == [1, 1]


async def test_a_rollback_outlives_loading_the_folder_again(api: Api, tmp_path: Path) -> None:
    write(tmp_path, "w")
    await api.services.registry.load_folder(tmp_path)
    write(tmp_path, "w", description="new")
    await api.services.registry.load_folder(tmp_path)
    await api.post("/v1/workflows/w/activate", {"version": 1})
    await api.services.registry.load_folder(tmp_path)
    assert (await api.get("/v1/workflows/w")).json["version"] == 1


async def test_the_workflows_that_come_with_the_project_are_good(api: Api) -> None:
    loaded = await api.services.registry.load_folder(ROOT / "workflows")
    assert loaded.refused == ()
    assert {"hello", "sd15-txt2img", "sdxl-base-refiner"} <= {workflow.name for workflow in loaded.workflows}


@pytest.mark.parametrize(
    ("change", "status", "code", "pointer"),
    [
        ({"name": "No Spaces"}, 400, "invalid_request", "/name"),
        ({"grpah": {}}, 400, "invalid_request", "/grpah"),
        ({"quality": {}}, 400, "invalid_request", "/quality/scores"),
        ({"graph": {"nodes": [], "links": []}}, 422, "workflow_format_ui", "/graph"),
        ({"graph": {}}, 422, "invalid_workflow", "/graph"),
        ({"bind": {"width": "1.width", "prefix": "7.x"}}, 422, "invalid_binding", "/bind/prefix"),
        ({"bind": {"width": "1.width", "prefix": "2.images"}}, 422, "invalid_binding", "/bind/prefix"),
        ({"bind": {"width": "1.width"}}, 422, "invalid_binding", "/params/properties/prefix"),
        (
            {"bind": {**WORKFLOW["bind"], "hight": "1.height"}}, 422, "invalid_binding", "/bind/hight",
        ),
        ({"params": {"type": "object", "properties": {"a": {"type": "x"}}}}, 422, "invalid_schema",
         "/params/properties/a/type"),
        ({"outputs": ["1"]}, 422, "invalid_registration", "/outputs/0"),
        ({"outputs": ["3"]}, 422, "invalid_registration", "/outputs/0"),
    ],
)  # fmt: skip
async def test_a_bad_registration_is_refused_and_leaves_nothing(
    api: Api, worker: WorkerDouble, change: dict[str, Any], status: int, code: str, pointer: str
) -> None:
    reply = await api.post("/v1/workflows", WORKFLOW | change)
    assert (reply.status, reply.code, reply.pointer) == (status, code, pointer)
    assert (await api.get("/v1/workflows")).json == {"workflows": []}


async def test_a_graph_without_output_node_is_refused_once_a_worker_is_known(api: Api, worker: WorkerDouble) -> None:
    reply = await api.post("/v1/workflows", {"name": "w", "graph": {"1": GRAPH["1"]}, "params": {"type": "object"}})
    assert (reply.status, reply.code, reply.pointer) == (422, "invalid_workflow", "/graph")


async def test_unknown_workflows_and_versions(api: Api, blank: str) -> None:
    for path in ("", "/versions", "/schema"):
        assert (await api.get(f"/v1/workflows/nope{path}")).code == "workflow_not_found"
    for path in ("blank:digests/versions", "blank:digests?version=1", "blank:digests/schema?version=1"):
        assert (await api.get(f"/v1/workflows/{path}")).code == "workflow_not_found"
    assert (await api.get("/v1/workflows/blank?version=9")).code == "workflow_not_found"
    assert (await api.post("/v1/workflows/blank/activate", {"version": 9})).code == "workflow_not_found"
    assert (await api.post("/v1/workflows/nope/activate", {"version": 1})).code == "workflow_not_found"
    assert (await api.post("/v1/workflows/blank/activate", {})).pointer == "/version"
