"""Bad input over HTTP: every entry a named 4xx that says where and what to change, and the fleet as it was before."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.api.errors import STATUS
from tests.integration.api.client import GRAPH, WORKFLOW, Api
from tests.integration.api.double import WorkerDouble


async def untouched(api: Api) -> None:
    """Nothing was queued, and a good job still is."""
    assert (await api.get("/v1/jobs")).json["jobs"] == []
    canary = await api.post("/v1/jobs", {"workflow": GRAPH})
    assert canary.status == 202


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b'{"workflow": ', 400, "invalid_json"),
        (b'{"workflow": {}, "workflow": {}}', 400, "duplicate_key"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"workflow": ' + b'{"a":' * 500 + b"1" + b"}" * 501, 400, "json_too_deep"),
        (b'{"workflow": NaN}', 400, "invalid_json"),
        (b'{"workflow": ' + b"9" * 5000 + b"}", 400, "invalid_json"),
        (b'{"workflow": "\\ud800"}', 400, "invalid_json"),
        (b'{"workflow": "\\u0000"}', 400, "nul_character"),
        (b'{"workflow": "\xff\xfe"}', 400, "invalid_json"),
        (b"[]", 400, "invalid_request"),
        (b'"workflow"', 400, "invalid_request"),
        (b"null", 400, "invalid_request"),
        (orjson.dumps({str(n): n for n in range(60_000)}), 400, "invalid_request"),
        (b'{"workflow": [' + b"1," * 400_000 + b"1]}", 413, "too_many_values"),
        (b'{"a\\u0000": 1}', 400, "nul_character"),
        (b'{"workflow": {"a": "' + b"x" * (1 << 20) + b'"}}', 413, "body_too_large"),
    ],
)
async def test_bodies_that_are_no_request(api: Api, body: bytes, status: int, code: str) -> None:
    reply = await api.post("/v1/jobs", body)
    assert (reply.status, reply.code) == (status, code)
    assert len(reply.json["error"]["message"]) < 500
    await untouched(api)


async def test_bodies_that_are_not_json_by_their_headers(api: Api) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x"):
        reply = await api.post("/v1/jobs", {"workflow": GRAPH}, headers={"Content-Type": kind})
        assert (reply.status, reply.code) == (415, "unsupported_media_type")
    await untouched(api)


async def test_paths_and_methods_that_do_not_exist(api: Api) -> None:
    for path in ("/nope", "/v1/nope", "/v1/jobs/a/b/c", "/docs/../../etc/passwd", "/docs/none.js"):
        reply = await api.get(path)
        assert (reply.status, reply.code) == (404, "no_such_route"), path
    reply = await api.http.request("DELETE", "/v1/jobs")
    assert (reply.status, (await reply.json())["error"]["code"]) == (405, "method_not_allowed")
    assert set(reply.headers["Allow"].split(",")) == {"GET", "HEAD", "POST"}


GRAPHS: list[tuple[str, Any, str, str, str]] = [
    ("a UI export", {"nodes": [{"id": 1}], "links": []}, "workflow_format_ui", "/workflow", "Export (API)"),
    ("empty", {}, "invalid_workflow", "/workflow", "at least one node"),
    ("not an object", [], "invalid_workflow", "/workflow", "object"),
    ("a number", 7, "invalid_workflow", "/workflow", "object"),
    ("no class_type", {**GRAPH, "1": {"inputs": {}}}, "invalid_workflow", "/workflow/1", "class_type"),
    (
        "an unknown class", {**GRAPH, "1": {"class_type": "EmptyImages", "inputs": {}}}, "invalid_workflow",
        "/workflow/1", "did you mean EmptyImage?",
    ),
    (
        "a dangling link", {**GRAPH, "2": {"class_type": "SaveImage", "inputs": {"images": ["9", 0],
         "filename_prefix": "x"}}}, "invalid_workflow", "/workflow/2/inputs/images", "not in the graph",
    ),
    (
        "a missing slot", {**GRAPH, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 3],
         "filename_prefix": "x"}}}, "invalid_workflow", "/workflow/2/inputs/images", "output 3",
    ),
    (
        "a cycle", {
            "1": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], "upscale_method": "lanczos",
                  "scale_by": 2}},
            "2": GRAPH["2"],
        }, "invalid_workflow", "/workflow/1", "hangs on itself",
    ),
    (
        "a wrong type", {**GRAPH, "3": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
         "2": {"class_type": "SaveImage", "inputs": {"images": ["3", 1], "filename_prefix": "x"}}},
        "invalid_workflow", "/workflow/2/inputs/images", "MASK",
    ),
    ("no output node", {"1": GRAPH["1"]}, "invalid_workflow", "/workflow", "no output node"),
    (
        "a missing input", {**GRAPH, "1": {"class_type": "EmptyImage", "inputs": {"width": 1, "height": 1,
         "batch_size": 1}}}, "invalid_workflow", "/workflow/1/inputs/color", "missing",
    ),
    (
        "out of range", {**GRAPH, "1": {"class_type": "EmptyImage", "inputs": {"width": 65536, "height": 1,
         "batch_size": 1, "color": 0}}}, "invalid_workflow", "/workflow/1/inputs/width", "16384",
    ),
    (
        "a batch of a million", {**GRAPH, "1": {"class_type": "EmptyImage", "inputs": {"width": 1, "height": 1,
         "batch_size": 10**6, "color": 0}}}, "invalid_workflow", "/workflow/1/inputs/batch_size", "4096",
    ),
    (
        "not a number", {**GRAPH, "1": {"class_type": "EmptyImage", "inputs": {"width": "wide", "height": 1,
         "batch_size": 1, "color": 0}}}, "invalid_workflow", "/workflow/1/inputs/width", "wide",
    ),
    (
        "a prefix that escapes", {**GRAPH, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0],
         "filename_prefix": "../../etc/x"}}}, "invalid_workflow", "/workflow/2/inputs/filename_prefix", "relative path",
    ),
    (
        "a file that escapes", {**GRAPH, "3": {"class_type": "LoadImage", "inputs": {"image": "../../etc/passwd"}},
         "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}}},
        "invalid_workflow", "/workflow/3/inputs/image", "passwd",
    ),
    (
        "an asset that is not there", {
            "3": {"class_type": "LoadImage", "inputs": {"image": {"__type": "core/ASSET", "info": {"id": "ast_x"}}}},
            "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
        }, "missing_asset", "/workflow/3/inputs/image", "upload",
    ),
    (
        "an asset without id", {
            "3": {"class_type": "LoadImage", "inputs": {"image": {"__type": "core/ASSET"}}},
            "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
        }, "missing_asset", "/workflow/3/inputs/image", "id",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("graph", "code", "pointer", "says"), [case[1:] for case in GRAPHS], ids=[c[0] for c in GRAPHS]
)
async def test_graphs_that_cannot_run(
    api: Api, worker: WorkerDouble, graph: Any, code: str, pointer: str, says: str
) -> None:
    reply = await api.post("/v1/jobs", {"workflow": graph})
    assert (reply.status, reply.code, reply.pointer) == (422, code, pointer)
    assert says in reply.json["error"]["message"]
    for problem in reply.json["error"]["details"].get("node_errors", ()):
        assert problem["pointer"].startswith("/workflow")
    await untouched(api)


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ({}, 422, "invalid_params", "/params/prefix"),
        ({"params": {"prefix": 7}}, 422, "invalid_params", "/params/prefix"),
        ({"params": {"prefix": "x" * 41}}, 422, "invalid_params", "/params/prefix"),
        ({"params": {"prefix": "x", "width": 0}}, 422, "invalid_params", "/params/width"),
        ({"params": {"prefix": "x", "width": 20_000}}, 422, "invalid_params", "/params/width"),
        ({"params": {"prefix": "../x"}}, 422, "invalid_params", "/params/prefix"),
        ({"params": {"prefix": "x", "widht": 1}}, 422, "invalid_params", "/params/widht"),
        ({"params": []}, 400, "invalid_request", "/params"),
        ({"params": {"prefix": "x"}, "priority": "urgent"}, 400, "invalid_request", "/priority"),
        ({"params": {"prefix": "x"}, "deadline_s": -1}, 400, "invalid_request", "/deadline_s"),
        ({"params": {"prefix": "x"}, "deadline_s": 1e9}, 400, "invalid_request", "/deadline_s"),
        ({"params": {"prefix": "x"}, "metadata": {"a b": "c"}}, 422, "metadata_invalid", "/metadata/a b"),
        ({"params": {"prefix": "x"}, "webhook_url": "http://x"}, 400, "invalid_request", "/webhook_url"),
    ],
)
async def test_params_that_do_not_fit(
    api: Api, worker: WorkerDouble, blank: str, body: dict[str, Any], status: int, code: str, pointer: str
) -> None:
    reply = await api.post("/v1/workflows/blank/jobs", body)
    assert (reply.status, reply.code, reply.pointer) == (status, code, pointer)
    await untouched(api)


@pytest.mark.parametrize("outputs", [["9"], ["1"]])
async def test_outputs_that_are_none(api: Api, worker: WorkerDouble, outputs: list[str]) -> None:
    reply = await api.post("/v1/jobs", {"workflow": GRAPH, "outputs": outputs})
    assert (reply.status, reply.code, reply.pointer) == (422, "unknown_output", "/outputs/0")
    await untouched(api)


async def test_without_a_worker_the_structure_is_checked_alone(api: Api) -> None:
    unknown = {"1": {"class_type": "NodeOfTomorrow", "inputs": {"a": 1}}}
    assert (await api.post("/v1/jobs", {"workflow": unknown})).status == 202
    dangling = {"1": {"class_type": "NodeOfTomorrow", "inputs": {"a": ["2", 0]}}}
    reply = await api.post("/v1/jobs", {"workflow": dangling})
    assert (reply.code, reply.pointer) == ("invalid_workflow", "/workflow/1/inputs/a")
    reply = await api.post("/v1/jobs", {"workflow": unknown, "outputs": ["2"]})
    assert (reply.code, reply.pointer) == ("unknown_output", "/outputs/0")


async def test_a_worker_that_joined_a_moment_ago_counts(api: Api, worker: WorkerDouble, monkeypatch: Any) -> None:
    novel = {"1": {"class_type": "Novelty", "inputs": {}}}
    assert (await api.post("/v1/jobs", {"workflow": novel})).code == "invalid_workflow"
    monkeypatch.setattr("orchestrator.controller.catalogs.FRESH_S", 0.0)
    other = WorkerDouble(api.services.store, name="w2")  # pyright: ignore[reportArgumentType]
    await other.join(object_info={"Novelty": {"input": {}, "output": [], "output_node": True}})
    assert (await api.post("/v1/jobs", {"workflow": novel})).status == 202


async def test_an_asset_of_another_kind_than_the_param_takes(api: Api) -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    params = {"type": "object", "properties": {"image": {"type": "string"}}, "required": ["image"]}
    bind = {"image": {"input": "1.image", "kind": "image"}}
    await api.post("/v1/workflows", {"name": "invert", "graph": graph, "params": params, "bind": bind})
    text = (await api.upload(b"just words", "words.txt")).json["id"]
    reply = await api.post("/v1/workflows/invert/jobs", {"params": {"image": text}})
    assert (reply.status, reply.code, reply.pointer) == (422, "invalid_params", "/params/image")
    assert "text/plain" in reply.json["error"]["message"]
    reply = await api.post("/v1/workflows/invert/jobs", {"params": {"image": "ast_nobody"}})
    assert (reply.status, reply.code, reply.pointer) == (422, "missing_asset", "/params/image")


@pytest.fixture(scope="module")
def bodies() -> st.SearchStrategy[bytes]:
    """Real bodies, mutated: a value replaced, a key renamed, bytes cut, flipped or put in."""
    seeds = [
        {"workflow": GRAPH, "priority": "low", "metadata": {"a": "b"}, "timeout_s": 5, "outputs": ["2"]},
        {"params": {"prefix": "x", "width": 5}, "version": 1, "deadline_s": 3.5},
        WORKFLOW,
    ]
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )

    @st.composite
    def mutated(draw: st.DrawFn) -> bytes:
        document = json.loads(json.dumps(draw(st.sampled_from(seeds))))
        holder: Any = document
        for _ in range(draw(st.integers(0, 4))):
            inner = [key for key, value in holder.items() if isinstance(value, dict) and value]
            if not inner:
                break
            holder = holder[draw(st.sampled_from(sorted(inner)))]
        key = draw(st.sampled_from(sorted(holder)))
        if draw(st.booleans()):
            holder[key] = draw(values)
        else:
            holder[draw(st.text(max_size=8))] = holder.pop(key)
        raw = bytearray(json.dumps(document, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass"))
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(raw)))
            cut = draw(st.integers(0, 3))
            raw[at : at + cut] = draw(st.binary(max_size=3))
        return bytes(raw)

    return mutated()


@pytest.fixture
async def target(api: Api, worker: WorkerDouble, blank: str) -> AsyncIterator[Api]:
    yield api


async def test_no_mutation_of_a_body_gets_more_than_a_named_4xx(target: Api, bodies: st.SearchStrategy[bytes]) -> None:
    paths = ["/v1/jobs", "/v1/workflows/blank/jobs", "/v1/workflows", "/v1/workflows/blank/activate"]
    drawn: list[tuple[str, bytes]] = []

    @settings(max_examples=600, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(paths), bodies)
    def draw(path: str, body: bytes) -> None:
        drawn.append((path, body))

    draw()
    for path, body in drawn:
        reply = await target.post(path, body)
        if reply.status >= 300:
            assert 400 <= reply.status < 500, (path, body, reply.json)
            assert STATUS[reply.code] == reply.status, (path, body, reply.json)
            assert reply.json["error"]["message"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/jobs?cursor=" + "9" * 5000 + ":x", 400),
        ("/v1/jobs?cursor=99999999999999999999999:x", 400),
        ("/v1/jobs?cursor=999999999999999:x", 200),
        ("/v1/jobs?cursor=:", 400),
        ("/v1/jobs?cursor=%00", 400),
        ("/v1/jobs?cursor=\u0663:x", 400),
        ("/v1/jobs?limit=\u0663", 400),
        ("/v1/jobs?limit=99999999999999999999999", 400),
        ("/v1/jobs?workflow=%ff", 200),
        ("/v1/jobs?workflow=a:b", 200),
        ("/v1/jobs?label[a][b]=c", 422),
        ("/v1/jobs?label[a]=1&label[a]=2", 400),
        ("/v1/jobs?label=1&label[a]=2", 400),
        ("/v1/jobs?=x", 400),
        ("/v1/jobs?%", 400),
        ("/v1/jobs/x/outputs/\u0663", 404),
        ("/v1/workflows/blank?version=99999999999999999999999", 404),
        ("/v1/workflows/blank?version=x", 400),
        ("/v1/workflows/..%2f..", 404),
        ("/v1/assets/%2e%2e%2fetc/content", 404),
        ("/v1//jobs", 404),
    ],
)
async def test_odd_paths_and_queries(api: Api, blank: str, path: str, status: int) -> None:
    await api.post(f"/v1/workflows/{blank}/jobs", {})  # so that there is something to find
    assert (await api.get(path)).status == status
