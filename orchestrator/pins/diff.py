"""What an observed ComfyUI differs in from its lock, in words. Pure.

Extra models do no harm and are no difference; extra node packs and packages change what nodes do, and are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from orchestrator.pins.lock import Checkout, Lock, Model, allows_python
from orchestrator.pins.observed import Observed, SeenCheckout, SeenModel

_SHOWN = 12
"""Characters of a commit or digest that tell two apart for a person."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as locked. `locked` and `found` in full; None: not in the lock, not there or not known."""

    subject: str
    locked: str | None
    found: str | None
    message: str


def differences(lock: Lock, observed: Observed, later: Collection[str] = ()) -> tuple[Difference, ...]:
    """All of them; none: this is the environment of the lock. `later`: models that need not be there yet."""
    return (
        *_checkout("ComfyUI", lock.comfyui, observed.comfyui, observed.why("comfyui")),
        *_node_packs(lock, observed),
        *_python(lock, observed),
        *_packages(lock, observed),
        *_models(lock, observed, later),
    )


def short(digest: str) -> str:
    return digest[:_SHOWN]


def _checkout(subject: str, locked: Checkout, seen: SeenCheckout, why: str) -> Iterator[Difference]:
    if seen.commit is None:
        message = f"{subject} is at an unknown commit ({why}), the lock says {short(locked.commit)}"
        yield Difference(subject, locked.commit, None, message)
    elif seen.commit != locked.commit:
        message = f"{subject} is at commit {short(seen.commit)}, the lock says {short(locked.commit)}"
        yield Difference(subject, locked.commit, seen.commit, message)
    elif seen.edited is None:
        message = f"{subject} is at the locked commit, but whether its files are as committed is unknown ({why})"
        yield Difference(subject, locked.commit, None, message)
    elif seen.edited:
        message = f"{subject} has files that differ from commit {short(locked.commit)}: {seen.edited}"
        yield Difference(subject, locked.commit, f"edited: {seen.edited}", message)


def _node_packs(lock: Lock, observed: Observed) -> Iterator[Difference]:
    if observed.node_packs is None:
        message = f"the node packs are unknown ({observed.why('node_pack')})"
        yield Difference("node packs", f"{len(lock.node_packs)} node packs", None, message)
        return
    for name, locked in lock.node_packs.items():
        subject, pack = f"node pack {name}", observed.node_packs.get(name)
        if pack is None:
            message = f"{subject} is missing, the lock says commit {short(locked.commit)}"
            yield Difference(subject, locked.commit, None, message)
            continue
        yield from _checkout(subject, locked, pack.checkout, observed.why(f"node_pack {name}"))
        if pack.failure is not None:
            message = f"{subject} was not imported by ComfyUI: {pack.failure}"
            yield Difference(subject, locked.commit, f"not imported: {pack.failure}", message)
    for name in sorted(observed.node_packs.keys() - lock.node_packs.keys()):
        commit = observed.node_packs[name].checkout.commit
        message = f"node pack {name} is not in the lock: remove it from custom_nodes, or write the lock anew"
        yield Difference(f"node pack {name}", None, commit or "no git checkout", message)


def _python(lock: Lock, observed: Observed) -> Iterator[Difference]:
    if observed.python is None:
        message = f"Python is unknown ({observed.why('python')}), the lock says {lock.python}"
        yield Difference("Python", lock.python, None, message)
    elif not allows_python(lock.python, observed.python):
        message = f"Python is {observed.python}, the lock says {lock.python}"
        yield Difference("Python", lock.python, observed.python, message)


def _packages(lock: Lock, observed: Observed) -> Iterator[Difference]:
    if observed.packages is None:
        message = f"the packages are unknown ({observed.why('package')})"
        yield Difference("packages", f"{len(lock.packages)} packages", None, message)
        return
    for name, locked in lock.packages.items():
        subject, seen = f"package {name}", observed.packages.get(name)
        if seen is None:
            message = f"{subject} is missing, the lock says {locked.version}"
            yield Difference(subject, locked.version, None, message)
        elif seen.version != locked.version:
            message = f"{subject} is {seen.version}, the lock says {locked.version}"
            yield Difference(subject, locked.version, seen.version, message)
        elif seen.origin is not None and seen.sha256 not in locked.sha256:
            message = f"{subject} was installed from {seen.origin}, not from an archive that the lock names"
            yield Difference(subject, locked.version, seen.origin, message)
    for name in sorted(observed.packages.keys() - lock.packages.keys()):
        version = observed.packages[name].version
        message = f"package {name} {version} is not in the lock: uninstall it, or write the lock anew"
        yield Difference(f"package {name}", None, version, message)


def _models(lock: Lock, observed: Observed, later: Collection[str]) -> Iterator[Difference]:
    if observed.models is None:
        if lock.models:
            message = f"the models are unknown ({observed.why('model')})"
            yield Difference("models", f"{len(lock.models)} models", None, message)
        return
    for name, locked in lock.models.items():
        seen = observed.models.get(name)
        if seen is None and name in later:
            continue
        if found := _model(name, locked, seen, observed.why(f"model {name}")):
            yield found


def _model(name: str, locked: Model, seen: SeenModel | None, why: str) -> Difference | None:
    subject = f"model {name}"
    if seen is None:
        message = f"{subject} is missing, the lock says sha256 {short(locked.sha256)} ({locked.bytes} bytes)"
        return Difference(subject, locked.sha256, None, message)
    if seen.sha256 is None:
        message = f"{subject} has an unknown sha256 ({why}), the lock says {short(locked.sha256)}"
        return Difference(subject, locked.sha256, None, message)
    if seen.sha256 != locked.sha256:
        sizes = f" and {seen.bytes} bytes" if seen.bytes != locked.bytes else ""
        expected = f" and {locked.bytes} bytes" if sizes else ""
        message = f"{subject} has sha256 {short(seen.sha256)}{sizes}, the lock says {short(locked.sha256)}{expected}"
        return Difference(subject, locked.sha256, seen.sha256, message)
    return None
