"""The official npm SDK, driven by a script of its own (drive.mjs), at both doors."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api_v2.conftest import Door
from tests.integration.api_v2.graphs import early_and_late, loaded, picture, sampled
from tests.integration.api_v2.test_python_sdk import png

SDK = Path(sys.prefix) / "node" / "node_modules" / "@comfyorg" / "sdk" / "dist" / "index.js"
DRIVE = Path(__file__).with_name("drive.mjs")
pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on this machine"),
    pytest.mark.skipif(not SDK.exists(), reason="@comfyorg/sdk is not installed: make test does so where there is npm"),
]


@pytest.fixture
def seen(door: Door) -> Any:
    given = {
        "picture": picture(), "another": picture(), "early_and_late": early_and_late(20), "loaded": loaded(None),
        "endless": sampled(2000), "png": base64.b64encode(png("olive")).decode(),
    }  # fmt: skip
    done = subprocess.run(
        ["node", str(DRIVE), str(SDK)], input=json.dumps(given), capture_output=True, text=True, timeout=100,
        env={**os.environ, "COMFY_BASE_URL": door.url}, check=False,
    )  # fmt: skip
    if door.name == "proxy" and "expired" in done.stderr:
        pytest.skip("comfy-api-proxy said of a job that had just ended that it had expired")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_npm_sdk(seen: Any, door: Door) -> None:
    run = seen["run"]
    assert (run["status"], run["node"], run["type"], run["start"], run["format"]) == (
        "succeeded", "2", "image", "PNG", "api",
    )  # fmt: skip
    assert seen["events"]["status"] == "succeeded"
    assert seen["events"]["seen"][-1] == "succeeded"
    assert seen["assets"] == {"status": "succeeded", "same": True, "gone": "NotFound"}
    assert seen["cancel"] == {"status": "canceled", "result": "JobFailed"}
    assert seen["refusals"] == {
        "graph": "InvalidWorkflow", "asset": "MissingAsset", "job": "NotFound", "key": "IdempotencyKeyReuse",
    }  # fmt: skip
    door.needs("outputs before the terminal status, and none of their sizes")
    assert [said for said in seen["events"]["seen"] if said.startswith("output")] == ["output 2", "output 9"]
    assert run["said"] == run["size"]
