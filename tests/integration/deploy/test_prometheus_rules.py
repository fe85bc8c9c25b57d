"""The alert rules as Prometheus itself reads them: that each fires when it should, and only then."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PROMETHEUS = Path(__file__).parents[3] / "deploy" / "prometheus"

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool on this machine (Debian: apt-get install prometheus)"
)


@pytest.mark.parametrize(
    "check", ["check rules alerts.yaml", "test rules alerts_test.yaml", "check config prometheus.yaml"]
)
def test_promtool_finds_nothing(check: str) -> None:
    done = subprocess.run(
        ["promtool", *check.split()], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
