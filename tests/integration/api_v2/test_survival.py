"""What dies while a client of the SDK waits costs it time, and nothing else."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from comfy_sdk import Comfy, Progress

from tests.integration.api_v2.conftest import STEP_S, Server, configured, entry, running, served, simulated
from tests.integration.api_v2.graphs import early_and_late, picture
from tests.integration.api_v2.test_python_sdk import submit, told

PATIENCE_S = 60.0
ORCHESTRATOR = (sys.executable, "-m", "orchestrator")
# As systemd starts a service that has a .socket: with that as its descriptor 3.
HANDED_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def comfyuis() -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(simulated(step_seconds=STEP_S)) for name in "ab"}


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
    return found


def runs(base: str, job_id: str) -> list[dict[str, Any]]:
    return httpx.get(f"{base}/v1/jobs/{job_id}").json()["runs"]


def ready(base: str, count: int) -> None:
    until(lambda: httpx.get(f"{base}/readyz").json()["workers_ready"] == count, "the workers to be ready")


def test_a_worker_that_dies(comfyuis: dict[str, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(tmp_path, workers=[entry(*each) for each in comfyuis.items()])
    with served(*ORCHESTRATOR, "up", "--config", config) as fleet, ThreadPoolExecutor() as threads:
        monkeypatch.setenv("COMFY_BASE_URL", fleet.url)
        ready(fleet.url, 2)
        with Comfy() as comfy, Comfy() as another:
            job = submit(comfy, early_and_late(40))
            events = threads.submit(lambda: list(job.events()))
            waiting = threads.submit(another.jobs.get(job.id).wait, PATIENCE_S)
            until(lambda: job.refresh().outputs, "an output to be seen while the job runs")
            [run] = runs(fleet.url, job.id)
            comfyuis[run["worker"]].kill()
            assert waiting.result().status == "succeeded"
            seen = events.result()
            assert told(seen)[-4:] == ["running", "OutputReady", "OutputReady", "succeeded"]
            values = [event.value for event in seen if isinstance(event, Progress)]
            assert values == sorted(values)
            assert [each["state"] for each in runs(fleet.url, job.id)] == ["lost", "succeeded"]
            assert [output.node_id for output in job.refresh().outputs] == ["2", "9"]


class TestAController:
    """It has a socket that others hold as well, as under systemd, and agents of its own accord."""

    @pytest.fixture
    def controller(
        self, comfyuis: dict[str, Server], tmp_path: Path, redis_url: str, namespace: str
    ) -> Iterator[Callable[[], Any]]:
        """Starts one more."""
        workers = [entry(*each) for each in comfyuis.items()]
        config = configured(tmp_path, workers=workers, redis={"url": redis_url, "namespace": namespace})
        with socket.create_server(("127.0.0.1", 0)) as listener, running(*ORCHESTRATOR, "agent", "--config", config):
            number = listener.fileno()
            handed_over = (sys.executable, "-c", HANDED_OVER, str(number))
            command = (*handed_over, *ORCHESTRATOR, "controller", "--config", config)

            @contextmanager
            def start() -> Iterator[Server]:
                with served(*command, pass_fds=(number,)) as server:
                    yield server

            yield start

    def test_that_is_killed_and_started_again(
        self, controller: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resting = threading.Event()  # whoever waits is between two polls: none is under way

        def sleep(seconds: float) -> None:
            resting.set()
            time.sleep(seconds)

        monkeypatch.setattr("comfy_sdk.jobs.time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
        with ExitStack() as stack, ThreadPoolExecutor() as threads:
            first = stack.enter_context(controller())
            monkeypatch.setenv("COMFY_BASE_URL", first.url)
            ready(first.url, 2)
            comfy, another = stack.enter_context(Comfy()), stack.enter_context(Comfy())
            job = submit(comfy, early_and_late(100))
            waiting = another.jobs.get(job.id)
            until(lambda: job.refresh().outputs, "an output to be seen while the job runs")
            seen: list[object] = []
            events = threads.submit(lambda: [seen.append(event) for event in comfy.jobs.get(job.id).events()])
            waited = threads.submit(waiting.wait, PATIENCE_S)
            until(lambda: "OutputReady" in told(seen), "the stream to begin")
            assert resting.wait(PATIENCE_S)
            first.kill()
            second = stack.enter_context(controller())
            assert second.url == first.url

            assert waited.result().status == "succeeded"
            events.result()
            assert told(seen)[:2] == ["running", "OutputReady"]
            assert told(seen)[-1] == "succeeded"
            assert [output.node_id for output in job.refresh().outputs] == ["2", "9"]
            assert len(runs(second.url, job.id)) == 1
            assert submit(comfy, picture()).wait(PATIENCE_S).status == "succeeded"
