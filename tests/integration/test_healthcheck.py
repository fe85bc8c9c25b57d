"""ops/healthcheck.py as a container runs it: another process, its exit status, its one line."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "ops" / "healthcheck.py"
READY = {"status": "ready", "workers": 3, "workers_ready": 2}
STATS = {
    "system": {"comfyui_version": "0.33.0"},
    "devices": [{"name": "cuda:0 NVIDIA H200", "vram_total": 140 * 2**30, "vram_free": 139 * 2**30}],
}


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, tuple[int, bytes]]], str]]:
    """Starts a server of fixed answers by path; all else is 404."""
    servers: list[ThreadingHTTPServer] = []

    def start(answers: dict[str, tuple[int, bytes]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answers.get(self.path, (404, b"404: Not Found"))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def check(url: str) -> tuple[int, str]:
    # Without site packages: it must run where nothing is installed.
    done = subprocess.run([sys.executable, "-I", "-S", str(SCRIPT), url], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.returncode, done.stdout


def test_a_ready_fleet(serve):
    url = serve({"/readyz": (200, json.dumps(READY).encode())})
    assert check(url + "/") == (0, f"{url} is ready, with 2 of 3 workers\n")


def test_a_fleet_that_is_not_ready_says_why(serve):
    error = {"error": {"code": "store_unavailable", "message": "Redis does not\nanswer", "details": {}}}
    url = serve({"/readyz": (503, json.dumps(error).encode())})
    assert check(url) == (1, f"{url} is not ready: Redis does not answer\n")


def test_a_comfyui(serve):
    url = serve({"/system_stats": (200, json.dumps(STATS).encode())})
    assert check(url) == (0, f"{url} is ComfyUI 0.33.0 on cuda:0 NVIDIA H200 with 139.0 of 140.0 GiB free\n")


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"/system_stats": (500, b"")},
        {"/system_stats": (200, b"<html>")},
        {"/system_stats": (200, b"[1]")},
        {"/readyz": (200, b"<html>some other page")},
        {"/readyz": (500, b'{"error": "x"}')},
    ],
)
def test_anything_else_that_answers_is_not_healthy(serve, answers):
    assert check(serve(answers))[0] == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "file:///etc/passwd"])
def test_nothing_that_answers_is_not_healthy(url: str):
    status, line = check(url)
    assert status == 1
    assert url in line
