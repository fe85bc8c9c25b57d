"""What a job is told of an error."""

from __future__ import annotations

from orchestrator.domain.job import JobError
from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.domain.worker import WorkerInfo
from orchestrator.errors import Permanent, Retryable
from orchestrator.worker.outcome import job_error, lost, too_large

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


def test_a_worker_that_lacks_something_is_not_what_it_was_taken_for() -> None:
    assert lost(MISSING, Needs()).stale
    assert not lost(Retryable("run_vanished", "w does not know the run any more"), Needs()).stale


FULL = JobError("out_of_memory", "KSampler (node 3) ran out of memory: Allocation on device", details={"a": 1})


def test_what_is_too_large_for_a_worker_is_told_its_size() -> None:
    worker = WorkerInfo("w", "http://w", "default", "agent", vram_bytes=24 << 30)
    verdict = too_large(FULL, on_device=True, worker=worker)
    assert verdict.vram_over == 24 << 30
    assert "w has 24.0 GiB of VRAM and nothing else was in it" in verdict.error.message
    assert verdict.error.details == {"a": 1, "vram_bytes": 24 << 30}


def test_nothing_is_said_of_vram_where_it_was_not_that_or_is_not_known() -> None:
    worker = WorkerInfo("w", "http://w", "default", "agent", vram_bytes=24 << 30)
    for verdict in (
        too_large(FULL, on_device=False, worker=worker),
        too_large(FULL, on_device=True, worker=WorkerInfo("w", "http://w", "default", "agent")),
    ):
        assert verdict.vram_over == 0
        assert "VRAM" not in verdict.error.message
        assert "nothing else was in memory" in verdict.error.message
