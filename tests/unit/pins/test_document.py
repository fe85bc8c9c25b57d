"""The lock as text: what is written is read again, and what is wrong is named by file, line and key."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidRequest
from orchestrator.pins.document import dump, parse
from orchestrator.pins.lock import Checkout, Lock, Model, Package

HEX = "0123456789abcdef"
SHA, COMMIT = "ab" * 32, "cd" * 20

TEXT = f"""\
schema: 1
comfyui:
  repo: https://github.com/Comfy-Org/ComfyUI
  commit: {COMMIT}
node_packs:
  PackA: {{repo: 'git@github.com:a/b.git', commit: {COMMIT}}}
python:
  version: 3.10
  packages:
    numpy: {{version: 2.4.6, sha256: [{SHA}]}}
policy: {{allow_pickle: false}}
models:
  checkpoints/sub/x.safetensors:
    sha256: {SHA}
    bytes: 12
    sources: [https://a.example/x, s3://b/k, file:///m/x, ../x]
"""

hexes = st.text(HEX, min_size=64, max_size=64)
commits = st.text(HEX, min_size=40, max_size=40)
checkouts = st.builds(Checkout, st.sampled_from(["https://a.example/r", "/srv/git/r", "git@h:r", "../r"]), commits)
words = st.from_regex(r"[a-z0-9]([a-z0-9]{0,6}[a-z0-9])?", fullmatch=True)
parts = st.text(min_size=1, max_size=8).filter(
    lambda part: part[0] != "." and not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\]", part)
)
locks = st.builds(
    Lock,
    checkouts,
    st.sampled_from(["3.10", "3.11.7", "3.13.0rc1"]),
    st.dictionaries(words, st.builds(Package, words, st.lists(hexes, min_size=1, max_size=3).map(tuple)), max_size=4),
    st.dictionaries(parts.filter(lambda name: not name.endswith(".disabled")), checkouts, max_size=3),
    st.dictionaries(
        st.lists(parts, min_size=2, max_size=3).map(lambda names: "/".join(names) + ".safetensors"),
        st.builds(Model, hexes, st.integers(0, 10**15), st.just(("https://a.example/x", "s3://b/k"))),
        max_size=4,
    ),
    st.booleans(),
)


@given(locks)
def test_what_is_written_is_read_again(lock: Lock) -> None:
    again = parse(dump(lock), "x.lock.yaml")
    assert again == lock
    assert again.digest == lock.digest
    assert dump(again) == dump(lock)


def test_scalars_are_taken_as_they_are_written() -> None:
    digits = "1" * 40
    lock = parse(TEXT.replace(COMMIT, digits), "f")
    assert (lock.python, lock.comfyui.commit) == ("3.10", digits)
    assert lock.models["checkpoints/sub/x.safetensors"].sources[3] == "../x"


@pytest.mark.parametrize(
    ("old", "new", "line", "place", "words"),
    [
        ("schema: 1", "schema: 2", 1, "/schema", "this comfyfleet reads 1"),
        ("schema: 1\n", "", 1, "", "lacks schema"),
        (f"commit: {COMMIT}\nnode", "commit: master\nnode", 4, "/comfyui/commit", "a whole commit id"),
        (f"commit: {COMMIT}\nnode", "commit: [1]\nnode", 4, "/comfyui/commit", "something nested"),
        ("repo: https://github.com/", "repo: http://github.com/", 3, "/comfyui/repo", "say https://, ssh://"),
        ("repo: https://github.com/Comfy-Org/ComfyUI", "repo: --upload-pack=x", 3, "/comfyui/repo", "dash"),
        ("repo: https://github.com/Comfy-Org/ComfyUI", "repo: ext::sh -c x", 3, "/comfyui/repo", "runs commands"),
        ("  PackA: {", "  ../x: {", 6, "/node_packs/..~1x", "holds a /"),
        ("  PackA: {", "  ..: {", 6, "/node_packs/..", "begins with a dot"),
        ("version: 3.10", "version: 3", 8, "/python/version", "such as 3.11.7"),
        ("    numpy:", "    Num_Py:", 10, "/python/packages/Num_Py", "say 'num-py'"),
        (f"[{SHA}]", "[]", 10, "/python/packages/numpy/sha256", "at least one hash"),
        (f"[{SHA}]", "[abc]", 10, "/python/packages/numpy/sha256/0", "a SHA-256 in lower-case hex, not 'abc'"),
        ("version: 2.4.6,", "version: '>=2',", 10, "/python/packages/numpy/version", "an exact version"),
        ("allow_pickle: false", "allow_pickle: no", 11, "/policy/allow_pickle", "true or false, not 'no'"),
        ("allow_pickle: false", "allow_pickel: false", 11, "/policy/allow_pickel", "there are allow_pickle"),
        ("checkpoints/sub/x.s", "/etc/x.s", 14, "/models/~1etc~1x.safetensors", "empty part"),
        ("checkpoints/sub/x.s", "a/../x.s", 14, "/models/a~1..~1x.safetensors", "begins with a dot"),
        ("checkpoints/sub/x.safetensors", "x.safetensors", 14, "/models/x.safetensors", "FOLDER/NAME"),
        ("x.safetensors", "x.ckpt", 14, "/models/checkpoints~1sub~1x.ckpt", "set policy.allow_pickle"),
        ("x.safetensors", "x.PTH", 14, "/models/checkpoints~1sub~1x.PTH", "can run code"),
        ("x.safetensors", "x.engine", 14, "/models/checkpoints~1sub~1x.engine", "not known to be safe"),
        ("bytes: 12", "bytes: -1", 15, "/models/checkpoints~1sub~1x.safetensors/bytes", "size in bytes"),
        ("s3://b/k", "s3://b", 16, "/models/checkpoints~1sub~1x.safetensors/sources/1", "s3://BUCKET/KEY"),
        ("https://a", "http://a", 16, "/models/checkpoints~1sub~1x.safetensors/sources/0", "a http address"),
        ("https://a", "https://u:p@a", 16, "/models/checkpoints~1sub~1x.safetensors/sources/0", "credentials"),
        ("models:\n", "schema: 1\nmodels:\n", 12, "/schema", "there twice"),
        ("policy: {", "policy: [", 11, None, "not valid YAML"),
    ],
)
def test_refusals_name_file_line_and_key(old: str, new: str, line: int, place: str | None, words: str) -> None:
    assert old in TEXT
    with pytest.raises(InvalidRequest) as refused:
        parse(TEXT.replace(old, new, 1), "ops/x.lock.yaml")
    error = refused.value
    assert error.code == "invalid_lock"
    assert error.message.startswith(f"ops/x.lock.yaml:{line}: ")
    assert words in error.message
    if place is not None:
        assert error.details["pointer"] == place
        assert place in error.message


@pytest.mark.parametrize("text", ["", "[]", "x", "- &a [*a]", "{" * 40, "\x00", "schema: 1\ncomfyui: 2\npython: 3"])
def test_anything_else_is_refused_too(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"x\.lock\.yaml"):
        parse(text, "x.lock.yaml")


def test_pickles_are_allowed_where_the_lock_says_so() -> None:
    text = TEXT.replace("x.safetensors", "x.ckpt").replace("allow_pickle: false", "allow_pickle: true")
    assert parse(text, "f").allow_pickle
