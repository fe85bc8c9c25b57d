"""Range headers, as RFC 9110 reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.files import asked_range
from orchestrator.errors import InvalidRequest


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("pages=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_of_ten_bytes(header: str | None, expected: tuple[int, int] | None) -> None:
    assert asked_range(header, 10) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=12-", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_outside_of_the_file(header: str, size: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked_range(header, size)
    assert refused.value.code == "range_not_satisfiable"


@given(st.text(max_size=30) | st.from_regex(r"bytes=\d{0,20}-\d{0,20}", fullmatch=True), st.integers(0, 1 << 40))
def test_whatever_is_asked_lies_within_the_file(header: str, size: int) -> None:
    try:
        found = asked_range(header, size)
    except InvalidRequest:
        return
    if found is not None:
        assert 0 <= found[0] < found[1] <= size
