"""The example of a balancer, judged by HAProxy itself where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[3] / "deploy/haproxy/haproxy.cfg"


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not on PATH (Debian: apt-get install haproxy)")
def test_haproxy_takes_it() -> None:
    done = subprocess.run(["haproxy", "-c", "-q", "-f", CONFIG], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
