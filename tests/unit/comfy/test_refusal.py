"""ComfyUI's refusals -> what to do about them. The documents are those of real ComfyUIs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.comfy.answers import parse_refusal
from orchestrator.comfy.refusal import explain, too_large
from orchestrator.errors import FleetError, Permanent, Retryable

URL = "http://10.0.0.5:8188"


def explained(error: dict[str, Any], node_errors: dict[str, Any] | None = None) -> FleetError:
    return explain(parse_refusal({"error": error, "node_errors": node_errors or {}}), URL)


def invalid(*errors: dict[str, Any], class_type: str = "CheckpointLoaderSimple") -> FleetError:
    return explained(
        {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""},
        {"1": {"errors": list(errors), "dependent_outputs": ["2"], "class_type": class_type}},
    )


def not_in_list(name: str, value: Any) -> dict[str, Any]:
    return {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": f"{name}: {value!r} not in []",
        "extra_info": {"input_name": name, "input_config": [[]], "received_value": value},
    }


@pytest.mark.parametrize(
    "error",
    [
        {
            "type": "missing_node_type",
            "message": "Node 'My nice node' not found. The custom node may not be installed.",
            "details": "Node ID '#7'",
            "extra_info": {"node_id": "7", "class_type": "Nope", "node_title": "My nice node"},
        },
        {
            "type": "invalid_prompt",
            "message": "Cannot execute because node Nope does not exist.",
            "details": "Node ID '#7'",
            "extra_info": {},
        },
    ],
)
def test_a_missing_class_is_missing_here(error: dict[str, Any]) -> None:
    found = explained(error)
    assert isinstance(found, Retryable)
    assert (found.code, found.details["class_type"]) == ("missing_class", "Nope")
    assert "install its node pack" in found.message


def test_a_missing_model_is_missing_here() -> None:
    found = invalid(not_in_list("ckpt_name", "sd/x.safetensors"))
    assert isinstance(found, Retryable)
    assert found.code == "missing_model"
    assert found.message == (
        f"{URL} has no model file sd/x.safetensors for CheckpointLoaderSimple.ckpt_name (node 1): "
        "put it into its models folder"
    )
    assert found.details["node_errors"]["1"]["class_type"] == "CheckpointLoaderSimple"


def test_a_missing_option_is_missing_here() -> None:
    found = invalid(not_in_list("sampler_name", "res_multistep"), class_type="KSampler")
    assert isinstance(found, Retryable)
    assert found.code == "missing_option"


def test_what_no_comfyui_takes_is_permanent() -> None:
    problem = {
        "type": "required_input_missing",
        "message": "Required input is missing",
        "details": "images",
        "extra_info": {"input_name": "images"},
    }
    found = invalid(not_in_list("ckpt_name", "x.ckpt"), problem, class_type="SaveImage")
    assert isinstance(found, Permanent)
    assert (found.code, found.details["node_id"], found.details["class_type"]) == ("invalid_prompt", "1", "SaveImage")


def test_the_message_tells_what_comfyui_said() -> None:
    found = explained({"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": ""})
    assert isinstance(found, Permanent)
    assert found.message == "ComfyUI refuses the graph because Prompt has no outputs"


def test_too_large() -> None:
    assert "--max-upload-size" in too_large(URL).message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["errors", "extra_info", "class_type", "type", "message", "details", "1"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_a_refusal_of_any_shape_is_explained(error: Any, node_errors: Any) -> None:
    found = explain(parse_refusal({"error": error, "node_errors": node_errors}), URL)
    assert isinstance(found, Retryable | Permanent)
    assert found.message
