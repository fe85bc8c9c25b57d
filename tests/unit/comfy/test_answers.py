"""HTTP answers -> frozen types. The documents are those of real ComfyUIs, shortened."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.comfy.answers import (
    Failure,
    FileOutput,
    HistoryEntry,
    Queue,
    Refusal,
    SystemStats,
    TextOutput,
    parse_history,
    parse_queue,
    parse_refusal,
    parse_sizes,
    parse_system_stats,
)
from orchestrator.comfy.protocol import Malformed

RUN = "657b75bc-d9cf-498c-8a83-6e031d8407a0"
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}, "2": {"class_type": "SaveImage", "inputs": {}}}


def history(
    outputs: Any = None, *, status: str = "success", messages: Any = (), completed: bool | None = None
) -> dict[str, Any]:
    return {
        RUN: {
            "prompt": [0, RUN, GRAPH, {"client_id": "c"}, ["2"]],
            "outputs": outputs or {},
            "status": {
                "status_str": status,
                "completed": status == "success" if completed is None else completed,
                "messages": [list(message) for message in messages],
            },
            "meta": {},
        }
    }


def entry(*args: Any, **kwargs: Any) -> HistoryEntry:
    found = parse_history(history(*args, **kwargs), RUN)
    assert found is not None
    return found


def test_not_over() -> None:
    assert parse_history({}, RUN) is None
    assert parse_history(history(), "another") is None


def test_success() -> None:
    outputs = {
        "2": {"images": [{"filename": "pic_00001_.png", "subfolder": f"fleet/{RUN}", "type": "output"}]},
    }
    messages = (
        ("execution_start", {"prompt_id": RUN, "timestamp": 1795170936196}),
        ("execution_cached", {"nodes": ["1"], "prompt_id": RUN, "timestamp": 1795170936200}),
        ("execution_success", {"prompt_id": RUN, "timestamp": 1795170936231}),
    )
    assert entry(outputs, messages=messages) == HistoryEntry(
        succeeded=True,
        outputs=(FileOutput("2", "images", "pic_00001_.png", f"fleet/{RUN}", "output"),),
        cached=frozenset({"1"}),
        targets=("2",),
        started_at=1795170936.196,
        ended_at=1795170936.231,
    )


def file(filename: str, subfolder: str = "", type: str = "output", **more: Any) -> dict[str, Any]:
    return {"filename": filename, "subfolder": subfolder, "type": type, **more}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ({"images": [file("a.png", type="temp")]}, [("images", "a.png", "", "temp")]),
        ({"gifs": [file("a.mp4", "x", format="video/h264-mp4")]}, [("gifs", "a.mp4", "x", "output")]),
        ({"audio": [file("a.flac", "audio")]}, [("audio", "a.flac", "audio", "output")]),
        ({"latents": [file("l.latent")]}, [("latents", "l.latent", "", "output")]),
        ({"3d": [file("m.glb", "mesh")]}, [("3d", "m.glb", "mesh", "output")]),
        ({"result": ["mesh/m.glb", {"position": 1}, None]}, [("result", "m.glb", "mesh", "output")]),
        ({"result": ["mesh\\m.GLB", None, "temp/bg.png"]}, [("result", "m.GLB", "mesh", "output")]),
        ({"anything": [{"filename": "a.zip"}]}, [("anything", "a.zip", "", "output")]),
        ({"images": [file("v.mp4")], "animated": [True]}, [("images", "v.mp4", "", "output")]),
        ({"images": [file("a.png")], "files": [file("a.png")]}, [("images", "a.png", "", "output")]),
        ({"images": [None, 5, {"filename": ""}, {"name": "x"}], "odd": "text", "more": None}, []),
    ],
)
def test_files_of_every_kind(items: Any, expected: list[tuple[str, str, str, str]]) -> None:
    assert list(entry({"9": items}).outputs) == [FileOutput("9", *place) for place in expected]


def test_text_is_an_output_of_its_own() -> None:
    found = entry({"2": {"text": ["5", "models/m.glb"]}, "3": {"tags": ["not text"]}})
    assert found.outputs == (TextOutput("2", "5"), TextOutput("2", "models/m.glb"))


def test_failure() -> None:
    error = {
        "prompt_id": RUN,
        "node_id": "3",
        "node_type": "KSampler",
        "exception_message": "mat1 and mat2 shapes cannot be multiplied\n",
        "exception_type": "RuntimeError",
        "traceback": ["  File a, line 1\n", "  File b, line 2\n"],
        "timestamp": 2000,
    }
    found = entry(status="error", messages=(("execution_start", {"timestamp": 1000}), ("execution_error", error)))
    assert not found.succeeded
    assert found.failure == Failure(
        "3",
        "KSampler",
        "RuntimeError",
        "mat1 and mat2 shapes cannot be multiplied",
        "  File a, line 1\n  File b, line 2\n",
    )
    assert (found.started_at, found.ended_at) == (1.0, 2.0)


def test_an_error_told_beside_success_is_an_error() -> None:
    """ComfyUI leaves its status at success when it cannot even choose a node to run."""
    found = entry(status="success", messages=(("execution_error", {"exception_type": "X"}),))
    assert not found.succeeded
    assert found.failure is not None


def test_interrupted() -> None:
    found = entry(status="error", messages=(("execution_interrupted", {"node_id": "3", "timestamp": 5}),))
    assert found.interrupted
    assert not found.succeeded


def test_an_entry_without_status_succeeded() -> None:
    assert parse_history({RUN: {"outputs": {}, "prompt": []}}, RUN) == HistoryEntry(succeeded=True)


def test_queue() -> None:
    running, waiting = [3, "a", {}, {}, []], [4, "b", {}, {}, []]
    queue = parse_queue({"queue_running": [running], "queue_pending": [waiting]})
    assert queue == Queue(("a",), ("b",))
    assert "a" in queue
    assert "b" in queue
    assert "c" not in queue
    assert list(queue) == ["a", "b"]


@pytest.mark.parametrize("body", [None, [], {}, {"queue_running": 1}, {"queue_running": [[1, 2]], "queue_pending": []}])
def test_a_queue_that_is_none(body: Any) -> None:
    with pytest.raises(Malformed):
        parse_queue(body)


def test_system_stats() -> None:
    body = {
        "system": {"comfyui_version": "0.33.0", "ram_total": 25276514304},
        "devices": [{"name": "cuda:0 NVIDIA H200", "type": "cuda", "vram_total": 150, "vram_free": 1}],
    }
    assert parse_system_stats(body) == SystemStats("0.33.0", "cuda:0 NVIDIA H200", 150, 25276514304)
    assert parse_system_stats({"system": {}}) == SystemStats(None, None, None, None)


def test_sizes() -> None:
    assert parse_sizes([{"name": "sub/a.safetensors", "pathIndex": 0, "size": 5}, {"name": "old.pt"}]) == {
        "sub/a.safetensors": 5
    }


def test_refusal() -> None:
    body = {
        "error": {
            "type": "missing_node_type",
            "message": "Node 'Nope' not found.",
            "details": "Node ID '#1'",
            "extra_info": {"node_id": "1", "class_type": "Nope"},
        },
        "node_errors": {},
    }
    assert parse_refusal(body) == Refusal(
        "missing_node_type", "Node 'Nope' not found.", "Node ID '#1'", "Nope", "1", {}, ()
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, JSON, JSON)
def test_a_history_that_custom_nodes_wrote_is_never_an_error(outputs: Any, status: Any, prompt: Any) -> None:
    found = parse_history({RUN: {"outputs": outputs, "status": status, "prompt": prompt}}, RUN)
    assert isinstance(found, HistoryEntry)


@given(st.dictionaries(st.text(max_size=3), st.dictionaries(st.sampled_from(["images", "text", "result"]), JSON)))
def test_outputs_of_any_shape(outputs: Any) -> None:
    assert all(isinstance(output, FileOutput | TextOutput) for output in entry(outputs).outputs)


@given(JSON)
def test_a_refusal_of_any_shape(error: Any) -> None:
    assert isinstance(parse_refusal({"error": error, "node_errors": error}), Refusal)


@given(JSON)
def test_system_stats_of_any_shape(stats: Any) -> None:
    assert isinstance(parse_system_stats({"system": {"ram_total": stats}, "devices": [stats]}), SystemStats)
