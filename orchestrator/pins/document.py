"""The lock as a YAML file. Pure: text in, a Lock out, and back.

A lock is written by a command but edited by people, so every refusal names file, line and key and says what to put
there. Scalars are taken as they are written, whatever YAML would make of them: a version 3.10 is not the number 3.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.errors import InvalidRequest
from orchestrator.graph.shape import pointer
from orchestrator.pins import lock as rules
from orchestrator.pins.lock import SCHEMA, Checkout, Lock, Model, Package, normalised
from orchestrator.pins.sources import fault_of_repo, fault_of_source

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_SIZE = re.compile(r"\d{1,18}")
_FLAG = re.compile(r"true|false")


def parse(text: str, file: str) -> Lock:
    """`file` is its name in messages. Raises InvalidRequest("invalid_lock") with file and line."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidRequest("invalid_lock", f"{file}:{line}: not valid YAML: {error.problem}", line=line) from None
    except yaml.YAMLError as error:
        raise InvalidRequest("invalid_lock", f"{file}: not valid YAML: {error}") from None
    if node is None:
        raise InvalidRequest("invalid_lock", f"{file} is empty: write one with comfyfleet lock")
    return _lock(_Part(node, file))


def dump(lock: Lock) -> str:
    """The lock as YAML, in one order: equal locks are equal texts."""
    document = {
        "schema": SCHEMA,
        "comfyui": _checkout_document(lock.comfyui),
        "node_packs": {name: _checkout_document(pack) for name, pack in sorted(lock.node_packs.items())},
        "python": {
            "version": lock.python,
            "packages": {
                name: {"version": package.version, "sha256": list(package.sha256)}
                for name, package in sorted(lock.packages.items())
            },
        },
        "policy": {"allow_pickle": lock.allow_pickle},
        "models": {
            name: {"sha256": model.sha256, "bytes": model.bytes, "sources": list(model.sources)}
            for name, model in sorted(lock.models.items())
        },
    }
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)  # pyright: ignore[reportUnknownMemberType]  # of `width` in types-PyYAML


def _checkout_document(checkout: Checkout) -> dict[str, str]:
    return {"repo": checkout.repo, "commit": checkout.commit}


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the document, which knows where it stands."""

    node: yaml.Node
    file: str
    place: str = ""

    def refuse(self, words: str) -> InvalidRequest:
        line = self.node.start_mark.line + 1
        subject = f"{self.place}: " if self.place else ""
        return InvalidRequest(
            "invalid_lock", f"{self.file}:{line}: {subject}{words}", file=self.file, line=line, pointer=self.place
        )

    def entries(self) -> dict[str, _Part]:
        """The values of a mapping, by key."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.refuse("must be a mapping")
        found: dict[str, _Part] = {}
        for key, value in self.node.value:
            name = str(key.value)
            if name in found:
                raise _Part(key, self.file, self.place + pointer(name)).refuse("is there twice: keep one")
            found[name] = _Part(value, self.file, self.place + pointer(name))
        return found

    def fields(self, *required: str, optional: tuple[str, ...] = ()) -> dict[str, _Part]:
        """The values of a mapping that has these keys and no others."""
        found = self.entries()
        if missing := [name for name in required if name not in found]:
            raise self.refuse(f"lacks {' and '.join(missing)}")
        if unknown := [name for name in found if name not in (*required, *optional)]:
            raise found[unknown[0]].refuse(f"is no key here; there are {', '.join((*required, *optional))}")
        return found

    def items(self) -> list[_Part]:
        """The values of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.refuse("must be a list")
        return [_Part(item, self.file, self.place + pointer(n)) for n, item in enumerate(self.node.value)]

    def text(self, pattern: re.Pattern[str] | None, wanted: str) -> str:
        """A scalar that matches the whole pattern."""
        value = self.node.value if isinstance(self.node, yaml.ScalarNode) else None
        if value is None or not (value if pattern is None else pattern.fullmatch(value)):
            shown = "something nested" if value is None else repr(value[:80])
            raise self.refuse(f"say {wanted}, not {shown}")
        return value

    def checked(self, fault: Callable[[str], str | None], wanted: str) -> str:
        """A scalar that the check finds no fault with."""
        value = self.text(None, wanted)
        if found := fault(value):
            raise self.refuse(f"{value[:200]!r} {found}")
        return value


def _lock(part: _Part) -> Lock:
    found = part.fields("schema", "comfyui", "python", optional=("node_packs", "policy", "models"))
    schema = found["schema"].text(re.compile(r"\d+"), f"{SCHEMA}")
    if schema != str(SCHEMA):
        raise found["schema"].refuse(f"is {schema}, and this comfyfleet reads {SCHEMA}: write the lock anew, or update")
    python = found["python"].fields("version", "packages")
    allow_pickle = _allow_pickle(found.get("policy"))
    return Lock(
        comfyui=_checkout(found["comfyui"]),
        python=python["version"].text(rules.PYTHON, "a version of Python such as 3.11.7, or 3.11 for any of these"),
        packages=_packages(python["packages"]),
        node_packs=_named(found.get("node_packs"), rules.fault_of_pack_name, _checkout),
        models=_named(
            found.get("models"),
            lambda name: rules.fault_of_model_name(name) or _policy_fault(name, allow_pickle=allow_pickle),
            _model,
        ),
        allow_pickle=allow_pickle,
    )


def _policy_fault(name: str, *, allow_pickle: bool) -> str | None:
    fault = rules.fault_of_kind(name, allow_pickle=allow_pickle)
    return fault and f"{fault}, or set policy.allow_pickle to true"


def _allow_pickle(part: _Part | None) -> bool:
    policy = part.fields(optional=("allow_pickle",)) if part else {}
    return "allow_pickle" in policy and policy["allow_pickle"].text(_FLAG, "true or false") == "true"


def _named(part: _Part | None, fault: Callable[[str], str | None], read: Callable[[_Part], Any]) -> Mapping[str, Any]:
    """What is read of each entry, whose name is checked first."""
    found: dict[str, Any] = {}
    for name, value in (part.entries() if part else {}).items():
        if words := fault(name):
            raise value.refuse(f"the name {words}")
        found[name] = read(value)
    return found


def _checkout(part: _Part) -> Checkout:
    found = part.fields("repo", "commit")
    repo = found["repo"].checked(fault_of_repo, "where git fetches it from")
    return Checkout(repo, found["commit"].text(rules.COMMIT, "a whole commit id, in lower-case hex"))


def _packages(part: _Part) -> dict[str, Package]:
    packages: dict[str, Package] = {}
    for name, value in part.entries().items():
        if not rules.PACKAGE.fullmatch(name) or name != normalised(name):
            raise value.refuse(f"the name must be normalised: say {normalised(name)!r}")
        found = value.fields("version", "sha256")
        hashes = tuple(item.text(rules.SHA256, "a SHA-256 in lower-case hex") for item in found["sha256"].items())
        if not hashes:
            raise found["sha256"].refuse("must name at least one hash: write the lock anew with comfyfleet lock")
        packages[name] = Package(found["version"].text(rules.VERSION, "an exact version"), hashes)
    return packages


def _model(part: _Part) -> Model:
    found = part.fields("sha256", "bytes", optional=("sources",))
    sources = found["sources"].items() if "sources" in found else []
    return Model(
        found["sha256"].text(rules.SHA256, "a SHA-256 in lower-case hex"),
        int(found["bytes"].text(_SIZE, "its size in bytes")),
        tuple(source.checked(fault_of_source, "where to fetch it from") for source in sources),
    )
