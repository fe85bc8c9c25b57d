"""From what was seen to a lock, or to all that keeps it from being one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from orchestrator.pins.lock import (
    COMMIT,
    PACKAGE,
    PICKLE_SUFFIXES,
    PYTHON,
    SAFE_SUFFIXES,
    SHA256,
    VERSION,
    Checkout,
    Lock,
    Model,
    Package,
    fault_of_kind,
    fault_of_model_name,
    fault_of_pack_name,
)
from orchestrator.pins.observed import Observed, SeenCheckout, SeenPackage
from orchestrator.pins.sources import fault_of_repo


def obstacles(observed: Observed, *, allow_pickle: bool) -> list[str]:
    """What cannot be pinned as it is, each with what to do about it; none: `draft` makes a lock of it."""
    return [
        *_checkout("ComfyUI", observed.comfyui, observed.why("comfyui")),
        *_node_packs(observed),
        *_environment(observed),
        *_models(observed, allow_pickle),
    ]


def left_out(observed: Observed, *, allow_pickle: bool) -> list[str]:
    """What the lock will not hold though nothing is wrong with it, in words."""
    if observed.models is None:
        return [f"no models are locked, as they are unknown: {observed.why('model')}"]
    unknown = [name for name in observed.models if not allow_pickle and not _is_model(name)]
    unsourced = [name for name, model in observed.models.items() if not model.source and name not in unknown]
    notes: list[str] = []
    if unknown:
        notes.append(f"not locked, as these are no kinds of model files: {_few(unknown)}")
    if unsourced:
        notes.append(f"write where they can be fetched from into `sources` of these models: {_few(unsourced)}")
    return notes


def draft(observed: Observed, hashes: Mapping[str, tuple[str, ...]], *, allow_pickle: bool) -> Lock:
    """The lock of an observation without obstacles, and with the hashes of every package."""
    models = {name: seen for name, seen in (observed.models or {}).items() if allow_pickle or _is_model(name)}
    return Lock(
        comfyui=_pinned(observed.comfyui),
        python=str(observed.python),
        packages={name: Package(seen.version, hashes[name]) for name, seen in (observed.packages or {}).items()},
        node_packs={name: _pinned(pack.checkout) for name, pack in (observed.node_packs or {}).items()},
        models={
            name: Model(str(seen.sha256), seen.bytes, (seen.source,) if seen.source else ())
            for name, seen in models.items()
        },
        allow_pickle=allow_pickle,
    )


def fault_of_origin(name: str, package: SeenPackage) -> str | None:
    """Why no index can give this package as it is installed, in words; None when one may."""
    if package.origin is None or package.sha256 is not None:
        return None
    return (
        f"package {name} was installed from {package.origin}, which nobody else can get by its name and version: put a "
        f"wheel of it where pip finds it (an index, or a folder in PIP_FIND_LINKS) and install that"
    )


def _pinned(seen: SeenCheckout) -> Checkout:
    return Checkout(str(seen.repo), str(seen.commit))


def _checkout(subject: str, seen: SeenCheckout, why: str) -> Iterator[str]:
    if seen.commit is None:
        yield f"{subject} has no known commit ({why}): install it with git clone"
    elif not COMMIT.fullmatch(seen.commit):
        yield f"{subject} is at {seen.commit[:80]!r}, which is no commit id"
    elif seen.edited is None:
        yield f"{subject}: whether its files are as committed is unknown ({why})"
    elif seen.edited:
        yield f"{subject} has files that differ from its commit: {seen.edited}. Commit and push them, or restore them"
    if seen.commit is not None and seen.repo is None:
        yield f"{subject} has no remote `origin` to be fetched from: git remote add origin URL"
    elif seen.repo is not None and (fault := fault_of_repo(seen.repo)):
        yield f"{subject} comes from {seen.repo!r}, which {fault}: git remote set-url origin URL"


def _node_packs(observed: Observed) -> Iterator[str]:
    if observed.node_packs is None:
        yield f"the node packs are unknown: {observed.why('node_pack')}"
    for name, pack in (observed.node_packs or {}).items():
        yield from _checkout(f"node pack {name}", pack.checkout, observed.why(f"node_pack {name}"))
        if fault := fault_of_pack_name(name):
            yield f"node pack {name!r} {fault}: rename it"


def _environment(observed: Observed) -> Iterator[str]:
    if observed.python is None:
        yield f"the version of Python is unknown ({observed.why('python')}): name the interpreter with --python"
    elif not PYTHON.fullmatch(observed.python):
        yield f"{observed.python[:80]!r} is no version of Python that ComfyUI runs with"
    if observed.packages is None:
        yield f"the packages are unknown ({observed.why('package')}): name the interpreter with --python"
    for name, package in (observed.packages or {}).items():
        if fault := fault_of_origin(name, package):
            yield fault
        elif not PACKAGE.fullmatch(name) or not VERSION.fullmatch(package.version):
            yield f"{name[:80]!r} in version {package.version[:80]!r} is no name and version that pip would know"


def _models(observed: Observed, allow_pickle: bool) -> Iterator[str]:
    for name, model in (observed.models or {}).items():
        if not allow_pickle and not _is_model(name):
            continue
        if fault := fault_of_model_name(name):
            yield f"model {name!r} {fault}: rename it"
        elif fault := fault_of_kind(name, allow_pickle=allow_pickle):
            yield f"model {name} {fault}, or lock with --allow-pickle if you trust who made it"
        elif not SHA256.fullmatch(model.sha256 or ""):
            yield f"model {name} has no known sha256: {observed.why(f'model {name}')}"


def _is_model(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SAFE_SUFFIXES | PICKLE_SUFFIXES


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
