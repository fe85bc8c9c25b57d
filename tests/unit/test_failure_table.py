"""The table of ComfyUI's failures names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TABLE = Path(__file__).parent.parent / "chaos" / "README.md"
NAMED = sorted(set(re.findall(r"`([\w./]+\.py)(?:::(\w+))?`", TABLE.read_text())))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_each_is_there(file: str, test: str) -> None:
    assert f"async def {test}" in (TABLE.parent / file).read_text()


def test_every_test_of_a_failure_is_in_the_table() -> None:
    whole_files = {file for file, test in NAMED if not test}
    told = {test for _, test in NAMED}
    for path in TABLE.parent.glob("test_*.py"):
        if path.name not in whole_files:
            assert set(re.findall(r"^async def (test_\w+)", path.read_text(), re.MULTILINE)) <= told, path.name
