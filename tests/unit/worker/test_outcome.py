"""What a job is told of an error."""

from __future__ import annotations

from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.errors import Permanent, Retryable
from orchestrator.worker.outcome import job_error

MISSING = Retryable(
    "missing_model", "w has no model file a.pt", node_id="1", class_type="Loader", value="a.pt", node_errors={"1": {}}
)


def test_node_and_class_have_their_own_places() -> None:
    told = job_error(Permanent("invalid_prompt", "no", node_id="7", class_type="SaveImage", node_errors={"7": {}}))
    assert (told.code, told.message, told.node_id, told.class_type) == ("invalid_prompt", "no", "7", "SaveImage")
    assert told.details == {"node_errors": {"7": {}}}


def test_a_missing_model_is_told_with_the_place_where_it_is_expected() -> None:
    told = job_error(MISSING, Needs(models=(ModelRef("loras", "b.pt"), ModelRef("upscale_models", "a.pt"))))
    assert told.message == "w has no model file a.pt (expected as models/upscale_models/a.pt)"
    assert told.details["expected"] == "models/upscale_models/a.pt"


def test_a_missing_model_whose_folder_is_not_known() -> None:
    assert job_error(MISSING, Needs()).message == MISSING.message
    assert job_error(MISSING).message == MISSING.message
