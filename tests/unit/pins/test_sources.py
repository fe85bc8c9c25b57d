"""Addresses that a lock may name, and mirrors of them."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.pins.sources import (
    fault_of_repo,
    fault_of_source,
    is_path,
    mirrored,
    parse_mirrors,
    without_credentials,
)


@pytest.mark.parametrize(
    "repo",
    [
        "https://github.com/a/b.git",
        "https://host:8443/a",
        "ssh://git@host:22/a",
        "git@github.com:a/b.git",
        "file:///srv/git/a.git",
        "/srv/git/a",
        "../a",
        "a dir/with: colon",
    ],
)
def test_where_git_may_fetch_from(repo: str) -> None:
    assert fault_of_repo(repo) is None


@pytest.mark.parametrize(
    "repo",
    [
        "", "-u", "--upload-pack=touch x", "-oProxyCommand=x@h:a", "ext::sh -c 'touch x'", "fd::7", "http://h/a",
        "git://h/a", "ftp://h/a", "javascript://h", "https://", "https:///a", "https://user:token@h/a", "ssh://-oX=1/a",
        "file://host/a", "https://h/a\n", "a\x00b", "https://[bad/a",
    ],
)  # fmt: skip
def test_where_git_may_not_fetch_from(repo: str) -> None:
    assert fault_of_repo(repo)


@pytest.mark.parametrize(
    "source", ["https://h/a?b=c", "s3://bucket/a/b", "file:///a%20b", "a/b.safetensors", "../b", "/abs", "a: b"]
)
def test_where_models_may_come_from(source: str) -> None:
    assert fault_of_source(source) is None


@pytest.mark.parametrize(
    "source", ["", "http://h/a", "ftp://h/a", "ssh://h/a", "s3://bucket", "s3:///k", "-x", "https://u@h/a", "data://x"]
)
def test_where_models_may_not_come_from(source: str) -> None:
    assert fault_of_source(source)


def test_paths_are_told_from_addresses() -> None:
    assert [is_path(text) for text in ("/a", "a/b:c", "https://h/a", "git@h:a", "s3://b/k")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_the_mirror_of_the_longest_prefix_takes_its_place() -> None:
    mirrors = parse_mirrors({"https://github.com/": "/srv/git/", "https://github.com/a/": "file:///other/a/"})
    assert mirrored("https://github.com/a/b", mirrors) == "file:///other/a/b"
    assert mirrored("https://github.com/c/d", mirrors) == "/srv/git/c/d"
    assert mirrored("https://huggingface.co/c", mirrors) == "https://huggingface.co/c"


@pytest.mark.parametrize(
    ("prefix", "place"), [("", "/a"), ("https://h/", ""), ("https://h/", "relative"), ("https://h/", "http://h/")]
)
def test_mirrors_that_are_none(prefix: str, place: str) -> None:
    with pytest.raises(InvalidRequest, match="mirror"):
        parse_mirrors({prefix: place})


def test_credentials_stay_out_of_locks() -> None:
    assert without_credentials("https://me:token@h:1/a@b") == "https://h:1/a@b"
    assert without_credentials("git@h:a") == "git@h:a"
