"""Files that can say where in them something is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.controller.documents import line_of, read_json, read_yaml
from orchestrator.errors import InvalidRequest

YAML = """\
name: x
# a comment
bind:
  prompt: ["4.text", "6.text"]
  seed:
    - "8.noise_seed"
    - "9.noise_seed"
  "a/b~c": {input: "1.x"}
"""


@pytest.mark.parametrize(
    ("pointer", "line"),
    [
        ("", None),
        ("/name", 1),
        ("/bind", 3),
        ("/bind/prompt", 4),
        ("/bind/prompt/1", 4),
        ("/bind/seed/1", 7),
        ("/bind/a~1b~0c/input", 8),
        ("/bind/nobody", 3),
        ("/bind/seed/7", 5),
        ("/nothing", None),
    ],
)
def test_lines_of_yaml(pointer: str, line: int | None) -> None:
    assert line_of(YAML, pointer) == line


keys = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=5)
documents = st.recursive(
    st.integers() | st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
)


@given(st.dictionaries(keys, documents, min_size=1, max_size=4), st.sampled_from([1, 2, "\t"]))
def test_lines_of_json_as_editors_indent_it(document: dict[str, object], indent: int | str) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    for key in document:
        line = line_of(text, f"/{key}")
        assert line is not None
        assert text.splitlines()[line - 1].strip().startswith(f'"{key}":')


def refused(read: object, file: Path) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as info:
        read(file)  # pyright: ignore[reportCallIssue]
    return info.value


def test_yaml_is_read_as_data(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(YAML)
    assert read_yaml(file).value == yaml.safe_load(YAML)


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("name: x\nbind:\n  a: 1\n  b: 2\n  a: 3\n", "duplicate_key", 5),
        ("name: x\nname: y\n", "duplicate_key", 2),
        ("- {a: 1}\n- {b: 1, b: 2}\n", "duplicate_key", 2),
        ("name: [1, 2\nother: 3\n", "invalid_yaml", 2),
        ("name: x\n\tbind: y\n", "invalid_yaml", 2),
        ("name: !!python/object/apply:os.system ['true']\n", "invalid_yaml", 1),
        ("a: 1\n--- \nb: 2\n", "invalid_yaml", 2),
    ],
)
def test_bad_yaml_names_its_line(tmp_path: Path, text: str, code: str, line: int) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(text)
    error = refused(read_yaml, file)
    assert (error.code, error.details["line"]) == (code, line)
    assert f"{file}:{line}: " in error.message


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ('{\n "a": 1,\n "b": }', "invalid_json", 3),
        ('{\n "a": {"x": 1,\n "x": 2}}', "duplicate_key", 3),
        ('{"a": NaN}', "invalid_json", 1),
    ],
)
def test_bad_json_names_its_line(tmp_path: Path, text: str, code: str, line: int) -> None:
    file = tmp_path / "g.json"
    file.write_text(text)
    error = refused(read_json, file)
    assert (error.code, error.details["line"], error.details["file"]) == (code, line, str(file))


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_a_file_that_cannot_be_read(tmp_path: Path, read: object) -> None:
    assert refused(read, tmp_path / "none").code == "file_unreadable"
    (tmp_path / "latin").write_bytes(b"name: caf\xe9")
    assert refused(read, tmp_path / "latin").code == "file_unreadable"
