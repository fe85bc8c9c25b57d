"""Websocket frames -> events. The frames are those of a real ComfyUI 0.33, shortened."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.comfy.protocol import (
    Cached,
    Event,
    Executed,
    Executing,
    ExecutionStart,
    Failed,
    FeatureFlags,
    Interrupted,
    NodeProgress,
    Preview,
    Progress,
    ProgressState,
    Status,
    Succeeded,
    Text,
    Unknown,
    parse,
)

RUN = "653bceb3-731e-4a53-b835-189d75c6d4a9"


def frame(kind: str, **data: Any) -> str:
    return orjson.dumps({"type": kind, "data": data}).decode()


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (frame("status", status={"exec_info": {"queue_remaining": 3}}, sid="c0"), Status(3)),
        (frame("execution_start", prompt_id=RUN, timestamp=1795170936196), ExecutionStart(RUN)),
        (frame("execution_cached", nodes=["1", "4"], prompt_id=RUN, timestamp=1), Cached(RUN, ("1", "4"))),
        (frame("executing", node="3", display_node="3", prompt_id=RUN), Executing(RUN, "3")),
        (frame("executing", node="7.0.0.2", display_node="7", prompt_id=RUN), Executing(RUN, "7")),
        (frame("executing", node=None, prompt_id=RUN), Executing(RUN, None)),
        (frame("progress", value=5, max=20, prompt_id=RUN, node="3"), Progress(RUN, "3", 5.0, 20.0)),
        (
            frame("executed", node="9", display_node="9", output={"images": []}, prompt_id=RUN),
            Executed(RUN, "9", {"images": []}),
        ),
        (frame("executed", node="9", display_node="9", output=None, prompt_id=RUN), Executed(RUN, "9")),
        (frame("execution_success", prompt_id=RUN, timestamp=1), Succeeded(RUN)),
        (frame("execution_error", prompt_id=RUN, node_id="3", node_type="KSampler"), Failed(RUN)),
        (frame("execution_interrupted", prompt_id=RUN, node_id="3"), Interrupted(RUN)),
        (frame("feature_flags", max_upload_size=1), FeatureFlags({"max_upload_size": 1})),
        (frame("crystools.monitor", cpu=1), Unknown("crystools.monitor", "no such message is known")),
    ],
)
def test_text(text: str, event: Event) -> None:
    assert parse(text) == event


def test_progress_state_names_the_nodes_that_the_author_knows() -> None:
    nodes = {
        "1": {"value": 1.0, "max": 1.0, "state": "finished", "node_id": "1", "display_node_id": "1"},
        "3.0.0.1": {"value": 4, "max": 20, "state": "running", "node_id": "3.0.0.1", "display_node_id": "3"},
    }
    assert parse(frame("progress_state", prompt_id=RUN, nodes=nodes)) == ProgressState(
        RUN, (NodeProgress("1", 1.0, 1.0, finished=True), NodeProgress("3", 4.0, 20.0, finished=False))
    )


@pytest.mark.parametrize(("number", "content_type"), [(1, "image/jpeg"), (2, "image/png")])
def test_preview(number: int, content_type: str) -> None:
    assert parse(struct.pack(">II", 1, number) + b"picture") == Preview(content_type, b"picture")


def test_preview_with_metadata() -> None:
    head = orjson.dumps({"node_id": "3.0.1", "display_node_id": "3", "prompt_id": RUN, "image_type": "image/png"})
    assert parse(struct.pack(">II", 4, len(head)) + head + b"picture") == Preview("image/png", b"picture", RUN, "3")


def test_text_of_a_node() -> None:
    assert parse(struct.pack(">II", 3, 2) + b"12" + "wörk".encode()) == Text("12", "wörk")


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "[]",
        "{}",
        "not json",
        '{"type": "status"}',
        frame("status", status={}),
        frame("execution_start"),
        frame("executing", node=5, prompt_id=RUN),
        frame("progress", value="5", max=20, prompt_id=RUN, node="3"),
        frame("progress_state", prompt_id=RUN, nodes=[]),
        frame("progress_state", prompt_id=RUN, nodes={"1": {"value": 1, "max": 1, "node_id": "1"}}),
        b"",
        b"\x00\x00",
        struct.pack(">I", 2) + b"unencoded",
        struct.pack(">II", 1, 7) + b"neither JPEG nor PNG",
        struct.pack(">II", 3, 99) + b"short",
        struct.pack(">II", 4, 2) + b"{}picture",
        struct.pack(">II", 4, 4) + b"null",
        struct.pack(">II", 3, 1) + b"\xff\xff",
    ],
)
def test_what_is_not_understood_is_unknown(broken: str | bytes) -> None:
    assert isinstance(parse(broken), Unknown)


def test_unknown_says_what_was_wrong() -> None:
    assert parse(frame("progress", value=True, max=1, prompt_id=RUN, node="3")) == Unknown(
        "progress", "malformed: expected a number, got bool"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(
    [
        "status",
        "execution_start",
        "execution_cached",
        "executing",
        "progress",
        "progress_state",
        "executed",
        "execution_success",
        "execution_error",
        "execution_interrupted",
        "feature_flags",
    ]
)
FIELDS = st.sampled_from(["status", "prompt_id", "nodes", "node", "display_node", "value", "max", "state", "exec_info"])


@given(KINDS, st.dictionaries(FIELDS, JSON) | JSON)
def test_no_text_frame_is_an_error(kind: str, data: Any) -> None:
    assert isinstance(parse(orjson.dumps({"type": kind, "data": data}).decode()), Event)


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    assert isinstance(parse(text), Event)


@given(st.integers(0, 5), st.integers(0, 2**32 - 1) | st.integers(0, 40), st.binary(max_size=64))
def test_no_binary_frame_is_an_error(kind: int, number: int, rest: bytes) -> None:
    assert isinstance(parse(struct.pack(">II", kind, number) + rest), Event)
