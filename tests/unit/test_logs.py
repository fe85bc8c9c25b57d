"""Log lines: what they tell, and what they never do."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator.errors import InvalidRequest
from orchestrator.settings import LogSettings
from orchestrator.telemetry import logs, traces
from orchestrator.telemetry.ids import about

PROMPT = "a heron at dawn, for nobody else's eyes"
log = logging.getLogger("orchestrator.somewhere")


@pytest.fixture
def written() -> Iterator[Callable[..., io.StringIO]]:
    """`written(**settings)`: what all loggers write from then on."""
    root, ours = logging.getLogger(), logging.getLogger(logs.OURS)
    before = root.handlers[:], root.level, ours.level

    def configure(**settings: Any) -> io.StringIO:
        stream = io.StringIO()
        for handler in root.handlers[:]:
            root.removeHandler(handler)  # pytest's own are put back below, not closed
        logs.configure(LogSettings(**settings), stream)
        return stream

    yield configure
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])


def test_a_line_is_an_object_with_the_ids_of_what_it_is_about(written) -> None:
    stream = written()
    with about(request="r1"), about(job="j1", run="u1"):
        log.warning("run %s: %s", "u1", "failed", extra={"execute_s": 1.5})
    log.info("afterwards")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "warning", "logger": "orchestrator.somewhere", "message": "run u1: failed",
        "request": "r1", "job": "j1", "run": "u1", "execute_s": 1.5,
    }  # fmt: skip
    assert second.keys() == {"time", "level", "logger", "message"}


async def test_a_task_tells_the_ids_of_where_it_was_started(written) -> None:
    stream = written()

    async def work() -> None:
        log.info("working")

    with about(worker="w1"):
        task = asyncio.create_task(work())
    with about(worker="w2"):
        await task
    assert json.loads(stream.getvalue())["worker"] == "w1"


def test_a_line_tells_the_trace_that_it_belongs_to(written) -> None:
    class Listener:
        def traceparent(self) -> str:
            return "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    stream = written()
    with traces.told_to(Listener()):
        log.info("working")
    assert json.loads(stream.getvalue())["trace"] == "0af7651916cd43dd8448eb211c80319c"


def test_for_a_person_ids_are_told_once(written) -> None:
    stream = written(format="text")
    with about(job="j1", run="u1"):
        log.info("run %s: done", "u1", extra={"execute_s": 2})
    assert stream.getvalue().rstrip().endswith("INFO    run u1: done  job=j1  execute_s=2")


def test_what_others_named_makes_no_lines_of_its_own(written) -> None:
    stream = written(format="text")
    forged = "gone\n12:00:00 ERROR   all is lost\x1b[2J\x9b31m"
    try:
        raise InvalidRequest("bad", forged)
    except InvalidRequest:
        log.exception("%s", forged, extra={"node": forged})
    told = stream.getvalue()
    assert not any(line.startswith("12:00:00") for line in told.splitlines())
    assert told.replace("\n", "").isprintable()
    assert told.count(r"gone\n12:00:00 ERROR   all is lost\x1b[2J\x9b31m") == 2  # the id is in the message already


@pytest.mark.parametrize("value", ["\udcff.safetensors", 1 << 70])
def test_what_is_no_json_is_told_all_the_same(written, value: object) -> None:
    stream = written()
    log.info("found", extra={"value": value})
    assert json.loads(stream.getvalue())["value"] == value


class Params(BaseModel):
    prompt: int


def quoting() -> None:
    try:
        Params.model_validate({"prompt": PROMPT})
    except ValueError as error:
        raise RuntimeError(f"cannot take {PROMPT}") from error


@pytest.mark.parametrize("style", ["json", "text"])
def test_what_exceptions_quote_is_hashed(written, style: str) -> None:
    stream = written(format=style)
    try:
        quoting()
    except RuntimeError:
        log.exception("a job failed")
    told = stream.getvalue()
    assert PROMPT not in told
    assert "in quoting" in told
    assert f"RuntimeError: {logs.told(f'cannot take {PROMPT}')}" in told
    assert "ValidationError: sha256:" in told


async def test_a_task_that_failed_unseen_quotes_nothing(written) -> None:
    stream = written()

    async def fail() -> None:
        raise RuntimeError(f"cannot take {PROMPT}")

    task = asyncio.create_task(fail())
    await asyncio.wait((task,))
    del task
    gc.collect()
    line = json.loads(stream.getvalue())
    assert (line["message"], line["logger"]) == ("Task exception was never retrieved", "asyncio")
    assert PROMPT not in stream.getvalue()
    assert "in fail" in line["exception"]


def test_what_exceptions_say_can_be_asked_for(written) -> None:
    stream = written(verbatim=True)
    try:
        quoting()
    except RuntimeError:
        log.exception("a job failed")
    assert f"RuntimeError: cannot take {PROMPT}" in json.loads(stream.getvalue())["exception"]


def test_errors_of_the_machine_and_our_own_speak(written) -> None:
    stream = written()
    try:
        raise ExceptionGroup("two", [OSError(28, "No space left on device"), InvalidRequest("bad", "say 1, not 2")])
    except ExceptionGroup:
        log.exception("both")
    told = json.loads(stream.getvalue())["exception"]
    assert "No space left on device" in told
    assert "say 1, not 2" in told


def test_libraries_are_never_asked_for_what_they_send(written) -> None:
    stream = written(level="debug")
    logging.getLogger("websockets.client").debug("> TEXT %s", PROMPT)
    logging.getLogger("botocore.endpoint").debug("body %s", PROMPT)
    log.debug("ours")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["ours"]


def test_a_text_is_told_by_hash_and_length() -> None:
    assert logs.told("abc") == "sha256:ba7816bf8f01 (3 characters)"
    assert logs.told("\ud800") != logs.told("")
