"""Documents that can tell where in them something stands: file, line and JSON pointer.

A refused registration is read by the person who edits the file, so the refusals of the pure packages, which speak of
a pointer into the value they were given, are told again here from the file that the value came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.controller import strict_json
from orchestrator.errors import InvalidRequest
from orchestrator.graph.shape import pointer

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one also reads JSON that is indented with tabs


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file, or a part of a request that stands at the pointer `at` of its body."""

    value: Any
    file: Path | None = None
    text: str = ""  # of the file
    at: str = ""

    @contextmanager
    def telling(self, under: str = "") -> Iterator[None]:
        """Tells refusals that are raised inside from here; `under` is the pointer of the part being looked at."""
        try:
            yield
        except InvalidRequest as refusal:
            raise self._located(refusal, under) from None

    def refuse(self, code: str, message: str, place: str) -> InvalidRequest:
        """A refusal of what stands at the pointer `place`, to be raised."""
        return self._located(InvalidRequest(code, message, pointer=place), "")

    def _located(self, refusal: InvalidRequest, under: str) -> InvalidRequest:
        if "file" in refusal.details:  # told already, from a file that this one names
            return refusal
        place = under + str(refusal.details.get("pointer", ""))
        details = {**moved(refusal.details, self.at + under), "pointer": self.at + place}
        if self.file is None:
            return InvalidRequest(refusal.code, refusal.message, **details)
        line = refusal.details.get("line") or line_of(self.text, place)
        where = f"{self.file}:{line}" if line else str(self.file)
        details |= {"file": str(self.file)} | ({"line": line} if line else {})
        message = f"{where}: {refusal.message}" + (f" (at {place})" if place and place not in refusal.message else "")
        return InvalidRequest(refusal.code, message, **details)


def moved(details: Mapping[str, Any], to: str) -> dict[str, Any]:
    """The details of a refusal of a part of a document, with their pointers as they lead from the whole."""
    found = dict(details)
    if "pointer" in found:
        found["pointer"] = to + found["pointer"]
    for listed in found.keys() & {"errors", "node_errors"}:
        found[listed] = [{**problem, "pointer": to + problem["pointer"]} for problem in found[listed]]
    return found


def read_yaml(file: Path) -> Document:
    """Raises InvalidRequest: file_unreadable, invalid_yaml, or duplicate_key, with file and line."""
    text = _read(file)
    try:
        root = yaml.compose(text, Loader=_Loader)
        value = yaml.load(text, Loader=_Loader)  # a safe loader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        where = f"{file}:{line}" if line else str(file)
        raise InvalidRequest(
            "invalid_yaml", f"{where}: not valid YAML: {error.problem}", file=str(file), line=line
        ) from None
    except yaml.YAMLError as error:
        raise InvalidRequest("invalid_yaml", f"{file}: not valid YAML: {error}", file=str(file)) from None
    document = Document(value, file, text)
    with document.telling():
        _refuse_repeated(root)
    return document


def read_json(file: Path) -> Document:
    """Raises InvalidRequest: file_unreadable, or what strict_json.loads raises, with file and line."""
    text = _read(file)
    with Document(None, file, text).telling():
        return Document(strict_json.loads(text.encode()), file, text)


def line_of(text: str, place: str) -> int | None:
    """The line of what the pointer names in a YAML or JSON text, or of the innermost part of it that is there."""
    try:
        node = yaml.compose(text, Loader=_Loader)  # nearly all JSON is YAML
    except yaml.YAMLError:
        return None
    line: int | None = None
    for token in place.split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in reversed(node.value) if key.value == token), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and token.isdigit() and int(token) < len(node.value):
            node = node.value[int(token)]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRequest("file_unreadable", f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidRequest("file_unreadable", f"{file} is not UTF-8: {error.reason}") from None


def _refuse_repeated(node: Any, place: str = "") -> None:
    """YAML keeps the last of the keys that repeat, in silence."""
    if isinstance(node, yaml.SequenceNode):
        for n, item in enumerate(node.value):
            _refuse_repeated(item, place + pointer(n))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        inner = place + pointer(str(key.value))
        if key.value in seen:
            raise InvalidRequest(
                "duplicate_key", f"the key {key.value!r} is there twice; keep one", pointer=inner,
                line=key.start_mark.line + 1,
            )  # fmt: skip
        seen.add(str(key.value))
        _refuse_repeated(value, inner)
