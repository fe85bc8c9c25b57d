import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.delivery.serving import content_disposition, serving_headers


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/webp", "image/gif", "video/mp4", "video/webm"])
def test_what_a_browser_only_shows_is_served_inline(kind: str):
    assert serving_headers(kind, "a").get("Content-Disposition") == 'inline; filename="a"'


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/pdf", "text/plain", "image/tiff", "", "x"])
def test_everything_else_is_downloaded(kind: str):
    headers = serving_headers(kind, "a")
    assert headers["Content-Disposition"] == 'attachment; filename="a"'
    assert headers["X-Content-Type-Options"] == "nosniff"


@given(st.text(max_size=300), st.booleans())
def test_no_name_breaks_out_of_the_header(name: str, inline: bool):
    header = content_disposition(name, inline=inline)
    assert header.isascii() and header.isprintable()
    found = re.fullmatch(r"(inline|attachment); filename=\"([^\"\\%]+)\"(; filename\*=UTF-8''([\w.~%-]+))?", header)
    assert found
    assert "/" not in found[2] and "/" not in unquote(found[4] or "")


def test_a_name_beyond_ascii_is_sent_in_full_beside_its_plain_form():
    assert content_disposition("Käse 1.png", inline=True) == (
        "inline; filename=\"K_se 1.png\"; filename*=UTF-8''K%C3%A4se%201.png"
    )
