"""One prompt's state machine: when to look, how far it is, and what its history means."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.comfy import protocol
from orchestrator.comfy.answers import Failure, FileOutput, HistoryEntry, TextOutput
from orchestrator.comfy.protocol import Executing, ExecutionStart, Preview
from orchestrator.comfy.session import (
    Collect,
    Fail,
    Instruction,
    OutOfMemory,
    Rerun,
    Retry,
    Session,
    Stopped,
    missing_file,
)
from tests.fixtures.prompts import RUN, SAMPLING


def test_says_once_that_it_began() -> None:
    session = Session(SAMPLING)
    assert session.hear(ExecutionStart(RUN)) is Instruction.REPORT_START
    assert session.hear(Executing(RUN, "1")) is None
    assert session.started


def test_a_node_that_executes_is_a_start_too() -> None:
    assert Session(SAMPLING).hear(Executing(RUN, "1")) is Instruction.REPORT_START


@pytest.mark.parametrize("hint", [protocol.Succeeded(RUN), protocol.Failed(RUN), protocol.Interrupted(RUN)])
def test_history_is_not_asked_for_before_it_is_written(hint: protocol.Event) -> None:
    session = Session(SAMPLING)
    assert session.hear(hint) is None
    assert session.hear(Executing(RUN, None)) is Instruction.FETCH_HISTORY


def test_only_the_newest_preview_is_kept_and_it_is_given_once() -> None:
    session = Session(SAMPLING)
    session.hear(Preview("image/jpeg", b"old", RUN, "3"))
    session.hear(Preview("image/jpeg", b"new", RUN, "3"))
    assert session.take_preview() == Preview("image/jpeg", b"new", RUN, "3")
    assert session.take_preview() is None


def test_a_preview_without_metadata_is_of_the_node_that_executes() -> None:
    session = Session(SAMPLING)
    session.hear(Executing(RUN, "3"))
    session.hear(Preview("image/png", b"x"))
    assert session.take_preview() == Preview("image/png", b"x", None, "3")


# --- what the history means ---


def made(node_id: str, name: str = "a.png", type: str = "output") -> FileOutput:
    return FileOutput(node_id, "images", name, "", type)


def succeeded(
    *outputs: FileOutput | TextOutput, cached: Sequence[str] = (), targets: Sequence[str] = ("5",)
) -> HistoryEntry:
    return HistoryEntry(True, outputs=outputs, cached=frozenset(cached), targets=tuple(targets))  # fmt: skip


def test_success() -> None:
    assert Session(SAMPLING).conclude(succeeded(made("5"))) == Collect((made("5"),))


def test_previews_are_left_out_beside_what_was_saved() -> None:
    text = TextOutput("7", "hello")
    entry = succeeded(made("5"), made("6", type="temp"), made("8", type="input"), text, targets=("5", "6", "7", "8"))
    assert Session(SAMPLING).conclude(entry) == Collect((made("5"), text))


def test_previews_are_outputs_when_nothing_was_saved() -> None:
    entry = succeeded(made("6", type="temp"), TextOutput("7", "x"), made("8", type="input"), targets=("6", "7", "8"))
    assert Session(SAMPLING).conclude(entry) == Collect((made("6", type="temp"), TextOutput("7", "x")))


def test_only_the_outputs_that_are_asked_for_previews_included() -> None:
    entry = succeeded(made("5"), made("6", type="temp"), targets=("5", "6"))
    assert Session(SAMPLING, ("6",)).conclude(entry) == Collect((made("6", type="temp"),))


def test_outputs_that_the_cache_swallowed_are_made_again() -> None:
    verdict = Session(SAMPLING).conclude(succeeded(cached=("1", "2", "3", "4", "5")))
    assert isinstance(verdict, Rerun)
    assert verdict.error.code == "no_outputs"


def test_an_output_node_that_shows_nothing_is_no_failure() -> None:
    assert Session(SAMPLING).conclude(succeeded()) == Collect(())


def test_an_output_that_is_asked_for_and_not_there_is_a_failure() -> None:
    verdict = Session(SAMPLING, ("4", "5")).conclude(succeeded(made("5")))
    assert isinstance(verdict, Fail)
    assert (verdict.error.code, verdict.error.node_id) == ("no_outputs", "4")


def test_interrupted() -> None:
    assert Session(SAMPLING).conclude(HistoryEntry(False, interrupted=True)) == Stopped()


def failed(exception_type: str, message: str) -> HistoryEntry:
    return HistoryEntry(False, failure=Failure("3", "KSampler", exception_type, message, "Traceback"))


def test_an_exception_would_come_anywhere() -> None:
    verdict = Session(SAMPLING).conclude(failed("RuntimeError", "mat1 and mat2 shapes cannot be multiplied"))
    assert isinstance(verdict, Fail)
    error = verdict.error
    assert (error.code, error.node_id, error.class_type) == ("node_failed", "3", "KSampler")
    assert error.traceback == "Traceback"
    assert error.message == "KSampler (node 3) failed: mat1 and mat2 shapes cannot be multiplied"


@pytest.mark.parametrize(
    ("exception_type", "message", "on_device"),
    [
        ("torch.OutOfMemoryError", "Allocation on device \nThis error means you ran out of memory on your GPU.", True),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", True),
        ("torch.AcceleratorError", "CUDA error: out of memory", True),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: can't allocate memory", False),
        ("MemoryError", "", False),
    ],
)
def test_too_little_memory_here_may_be_enough_elsewhere(exception_type: str, message: str, on_device: bool) -> None:
    verdict = Session(SAMPLING).conclude(failed(exception_type, message))
    assert isinstance(verdict, OutOfMemory)
    assert (verdict.error.code, verdict.on_device) == ("out_of_memory", on_device)
    first_line = message.partition("\n")[0].strip() or exception_type
    assert verdict.error.message == f"KSampler (node 3) ran out of memory: {first_line}"


@pytest.mark.parametrize(
    ("exception_type", "message", "code"),
    [
        ("RuntimeError", "CUDA error: an illegal memory access was encountered", "device_fault"),
        ("torch.AcceleratorError", "CUDA error: unspecified launch failure", "device_fault"),
        ("RuntimeError", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "device_fault"),
        ("OSError", "[Errno 28] No space left on device: '/output/x.png'", "worker_disk_full"),
    ],
)
def test_a_worker_at_fault_is_not_the_job_s_fault(exception_type: str, message: str, code: str) -> None:
    verdict = Session(SAMPLING).conclude(failed(exception_type, message))
    assert isinstance(verdict, Retry)
    assert verdict.error.code == code


def test_an_end_without_a_reason_is_tried_again() -> None:
    verdict = Session(SAMPLING).conclude(HistoryEntry(False))
    assert isinstance(verdict, Retry)
    assert verdict.error.code == "execution_failed"


def test_a_file_that_is_gone_is_made_again() -> None:
    assert missing_file("http://w has no file a.png").error.code == "output_missing"
