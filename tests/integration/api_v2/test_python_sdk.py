"""The official Python SDK, synchronous. What only a fleet can answer skips the yardstick, and says what that lacks."""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from comfy_sdk import Comfy, ComfyError, Job, JobFailed, Log, OutputReady, Preview, Progress, StatusChange
from comfy_sdk.exceptions import IdempotencyKeyReuse, InvalidWorkflow, MissingAsset, NotFound
from PIL import Image

from tests.integration.api_v2.conftest import Door
from tests.integration.api_v2.graphs import early_and_late, kinds, loaded, picture, sampled


def submit(comfy: Comfy, graph: dict[str, Any], **options: Any) -> Job:
    return comfy.submit(comfy.workflows.from_json(graph), **options)


def png(color: str = "white") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (16, 8), color).save(data, "PNG")
    return data.getvalue()


def told(events: Sequence[object]) -> list[str]:
    """What happened, in order; progress and previews come when they come."""
    quiet = (Progress, Preview, Log)
    return [e.status if isinstance(e, StatusChange) else type(e).__name__ for e in events if not isinstance(e, quiet)]


def test_submit_wait_and_fetch(comfy: Comfy, tmp_path: Path) -> None:
    job = submit(comfy, picture())
    assert job.status == "queued"
    job.result()
    [output] = job.outputs
    assert (job.status, output.node_id, output.type, output.content_type) == ("succeeded", "2", "image", "image/png")
    assert [each.id for each in job.get_outputs("2")] == [output.id]
    content = output.to_bytes()
    assert Image.open(io.BytesIO(content)).size == (32, 32)
    assert output.to_file(tmp_path / "x.png").read_bytes() == content
    assert output.to_bytes(range=(1, 3)) == b"PNG"
    assert output.get_download_url().url.endswith("/content")


def test_a_job_is_found_again_by_its_id(comfy: Comfy) -> None:
    graph = picture()
    job = submit(comfy, graph)
    again = comfy.jobs.get(job.id)
    again.wait(timeout=30)
    workflow = again.get_workflow()
    assert workflow.format == "api"
    assert workflow.graph["1"]["inputs"] == graph["1"]["inputs"]


def test_events_tell_how_it_went(comfy: Comfy) -> None:
    job = submit(comfy, sampled(60))
    events = list(job.events())
    statuses = [event.status for event in events if isinstance(event, StatusChange)]
    assert statuses[-1] == "succeeded"
    assert "running" in statuses
    values = [event.value for event in events if isinstance(event, Progress)]
    assert values == sorted(values)
    assert values[-1] > 0.5


def test_every_output_is_told_before_the_end(comfy: Comfy, door: Door) -> None:
    door.needs("OutputReady before the terminal status, at which its client stops to listen")
    job = submit(comfy, early_and_late(30))
    events = list(job.events())
    ready = [event.output for event in events if isinstance(event, OutputReady)]
    assert told(events)[-2:] == ["OutputReady", "succeeded"]
    assert [output.node_id for output in ready] == ["2", "9"]
    assert [output.id for output in ready] == [output.id for output in job.refresh().outputs]


def test_an_uploaded_picture_goes_through_a_graph(comfy: Comfy) -> None:
    asset = comfy.assets.from_bytes(png(), filename="in.png", content_type="image/png")
    job = submit(comfy, loaded(asset)).result()
    assert asset.id is not None
    assert Image.open(io.BytesIO(job.outputs[0].to_bytes())).convert("RGB").getpixel((0, 0)) == (0, 0, 0)


def test_the_same_bytes_are_sent_once(comfy: Comfy) -> None:
    data = png("teal")
    first, second = (comfy.assets.from_bytes(data, filename=name) for name in ("a.png", "b.png"))
    assert first.commit() == second.commit()
    assert (first.created_new, second.created_new) == (True, False)
    found = comfy.assets.get(str(first.id))
    assert found.hash == f"blake3:{blake3(data).hexdigest()}"
    comfy.assets.delete(str(first.id))
    with pytest.raises(NotFound):
        comfy.assets.get(str(second.id))


def test_an_output_is_an_input_of_the_next_job(comfy: Comfy, door: Door) -> None:
    door.needs("way from an output to an input: LoadImage finds no output by its bare name")
    first = submit(comfy, picture()).result()
    reference = {"__type": "core/ASSET", "info": {"id": first.outputs[0].id}}
    second = submit(comfy, loaded(reference)).result()
    assert Image.open(io.BytesIO(second.outputs[0].to_bytes())).size == (32, 32)


def test_a_job_is_stopped(comfy: Comfy) -> None:
    job = submit(comfy, sampled(2000))
    while job.refresh().status == "queued":
        pass
    job.cancel()
    assert job.wait(timeout=30).status == "canceled"
    assert job.cancel().status == "canceled"


def test_what_cannot_run_is_refused(comfy: Comfy) -> None:
    with pytest.raises(InvalidWorkflow):
        submit(comfy, {"1": {"class_type": "NoSuchNode", "inputs": {}}})
    reference = {"__type": "core/ASSET", "info": {"id": str(uuid.uuid4())}}
    with pytest.raises(MissingAsset):
        submit(comfy, loaded(reference))
    with pytest.raises(NotFound):
        comfy.jobs.get(str(uuid.uuid4()))
    with pytest.raises(NotFound):
        comfy.assets.get("nothing")


def test_a_key_is_used_once(comfy: Comfy) -> None:
    key = str(uuid.uuid4())
    submit(comfy, picture(), idempotency_key=key)
    with pytest.raises(IdempotencyKeyReuse):
        submit(comfy, picture(), idempotency_key=key)


def test_a_failure_names_the_node_and_shows_its_traceback(comfy: Comfy, door: Door) -> None:
    job = submit(comfy, loaded(comfy.assets.from_bytes(b"no picture", filename="broken.txt")))
    with pytest.raises(JobFailed) as failure:
        job.result()
    error = failure.value.error
    assert (error.node_id, error.class_type) == ("1", "LoadImage")
    door.needs("traceback in its errors")
    assert "UnidentifiedImageError" in error.message or "load_image" in error.traceback


def test_labels_are_kept_and_found(comfy: Comfy, door: Door) -> None:
    door.needs("labels")
    run = str(uuid.uuid4())
    jobs = [submit(comfy, picture(), metadata={"run": run, "n": str(n)}) for n in range(3)]
    assert jobs[0].metadata == {"run": run, "n": "0"}
    found = list(comfy.list_jobs(metadata={"run": run}, limit=2))
    assert [job.id for job in found] == [job.id for job in reversed(jobs)]
    assert all(job.create_time and job.update_time for job in found)
    with pytest.raises(ComfyError) as refused:
        submit(comfy, picture(), metadata={"not a key": "x"})
    assert refused.value.code == "metadata_invalid"
    assert refused.value.request_id


def test_every_kind_of_output_has_its_type_size_and_hash(comfy: Comfy, door: Door) -> None:
    door.needs("types, sizes and hashes of outputs that hold")
    job = submit(comfy, kinds()).result()
    assert {output.node_id: output.type for output in job.outputs} == {
        kind: kind for kind in ("image", "video", "audio", "text", "latent", "file")
    }
    for output in job.outputs:
        content = output.to_bytes()
        asset = comfy.assets.get(output.id)
        assert (len(content), f"blake3:{blake3(content).hexdigest()}") == (output.size_bytes, asset.hash)
        assert asset.job_id == job.id


def test_polling_shows_progress_outputs_and_times(comfy: Comfy, door: Door) -> None:
    door.needs("polled progress, and no outputs before the end")
    job = submit(comfy, early_and_late(40))
    values: list[float] = []
    early: list[bytes] = []
    while job.refresh().status in ("queued", "running"):
        progress = job._model.progress
        values += [progress.value] if progress else []
        early += [output.to_bytes() for output in job.outputs] if not early else []
    assert values == sorted(values)
    assert 0 < values[0] < values[-1]
    assert [output.to_bytes() for output in job.outputs][:1] == early
    assert len(job.outputs) == 2
    model = job._model
    assert model.created_at <= model.started_at <= model.completed_at < model.expires_at
    assert model.metrics["execution_ms"] >= 40 * 20
    assert (model.progress.value, model.progress.nodes_done) == (1, model.progress.nodes_total)
