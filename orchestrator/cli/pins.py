"""`lock`, `provision`, `verify`, `gc`: what a ComfyUI is made of, written down, made, checked, and cleared away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn

from orchestrator.cli.console import emit_json, err, out, size
from orchestrator.cli.errors import FAILED, complain
from orchestrator.cli.options import AsJson, Config, config_path
from orchestrator.errors import InvalidRequest
from orchestrator.pins import document, interpreter, observe, running, snapshot
from orchestrator.pins.diff import differences, short
from orchestrator.pins.draft import draft, left_out, obstacles
from orchestrator.pins.exclusive import write_atomically
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.lock import Lock
from orchestrator.pins.observed import Observed
from orchestrator.pins.pinned import read_lock
from orchestrator.pins.provision import Places
from orchestrator.pins.provision import provision as run_provision
from orchestrator.pins.sources import parse_mirrors
from orchestrator.pins.store import ModelStore
from orchestrator.settings import Settings, load

LockFile = Annotated[Path, typer.Option("--lock", metavar="FILE", help="The lock, e.g. ops/prod.lock.yaml.")]
Python = Annotated[
    Path | None,
    typer.Option("--python", metavar="PYTHON", help="The interpreter ComfyUI runs with; else .venv in its folder."),
]
Store = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Where models are kept; else models in data_dir.")
]
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def lock(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The lock, e.g. ops/NAME.lock.yaml.")],
    source: Annotated[str | None, typer.Option("--from", metavar="DIR|URL", help="A ComfyUI's folder or URL.")] = None,
    manager_snapshot: Annotated[
        Path | None, typer.Option("--snapshot", metavar="FILE", help="A snapshot saved by ComfyUI-Manager.")
    ] = None,
    python: Python = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Also lock model files that can run code when they are loaded.")
    ] = False,
    config: Config = None,
) -> None:
    """Write down what a ComfyUI is made of: commits, packages, models, each by its hash."""
    settings = load(config_path(config))
    observed = _seen(source, manager_snapshot, python, _hashes(_root(settings, None)))
    problems = obstacles(observed, allow_pickle=allow_pickle)
    packages = observed.packages or {}
    if not problems:
        with _saying(f"asking pip for the hashes of {len(packages)} packages"):
            resolved = interpreter.resolve(_interpreter(observed, source, python), packages)
        problems = [f"package {name}: {why}" for name, why in resolved.failures.items()]
        if not problems:
            pinned = draft(observed, resolved.hashes, allow_pickle=allow_pickle)
            write_atomically(output, document.dump(pinned).encode())
            _summarise(pinned, observed, output, allow_pickle)
            return
    for problem in problems:
        complain(problem)
    complain(f"{output} was not written: {len(problems)} things cannot be pinned as they are")
    raise typer.Exit(FAILED)


def provision(
    lock: LockFile,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Becomes the ComfyUI; new, empty, or provisioned.")],
    mirror: Annotated[
        list[str] | None,
        typer.Option("--mirror", metavar="FROM=TO", help="Fetch addresses that begin with FROM from TO. Repeatable."),
    ] = None,
    store: Store = None,
    python: Annotated[
        Path | None, typer.Option("--python", metavar="PYTHON", help="The interpreter to make its environment with.")
    ] = None,
    without_models: Annotated[
        bool, typer.Option("--without-models", help="Leave models to the agent, which fetches those that runs need.")
    ] = False,
    config: Config = None,
) -> None:
    """Make a folder the ComfyUI that a lock describes; go on where an earlier attempt stopped."""
    settings = load(config_path(config))
    pinned = read_lock(lock)
    rules = settings.mirrors | dict(_rule(text) for text in mirror or ())
    root = _root(settings, store)
    hashes = _hashes(root)
    with _Console() as console:
        places = Places(to, lock.parent, parse_mirrors(rules), python)
        changes = run_provision(pinned, places, ModelStore(root, hashes), console, models=not without_models)
        console.step("comparing it with the lock")
        observed = observe.observe(to, None, hashes, pinned.models)
        left = pinned.models.keys() - (observed.models or {}) if without_models else ()
        found = differences(pinned, observed, left)
    for difference in found:
        complain(difference.message)
    if found:
        complain(f"{to} is not yet what {lock} says")
        raise typer.Exit(FAILED)
    words = f"changed {changes} of its parts" if changes else "nothing had to change"
    words += f", and {len(left)} of its models are left to its agent" if left else ""
    out.print(f"{to} is what {lock} says ({pinned.digest}): {words}", markup=False, soft_wrap=True)


def verify(
    lock: LockFile,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="The folder of an installed ComfyUI.")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="A running ComfyUI with the fleet's node pack.")
    ] = None,
    python: Python = None,
    store: Store = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Compare a ComfyUI with its lock; exit 1 and name every difference if there are any."""
    if (folder is None) == (url is None):
        raise InvalidRequest("invalid_options", "say which ComfyUI: either --dir DIR or --url URL")
    pinned = read_lock(lock)
    hashes = _hashes(_root(load(config_path(config)), store))
    observed = _look(url or str(folder), python, hashes, pinned)
    found = differences(pinned, observed)
    if as_json:
        emit_json({"lock": pinned.digest, "differences": [asdict(difference) for difference in found]})
    elif found:
        for difference in found:
            out.print(difference.message, markup=False, soft_wrap=True)
    else:
        out.print(f"{url or folder} is what {lock} says ({pinned.digest})", markup=False, soft_wrap=True)
    if found:
        raise typer.Exit(FAILED)


def gc(
    keep: Annotated[str, typer.Option("--keep", metavar="SIZE", help="Down to this size, e.g. 500GB.")] = "0",
    lock: Annotated[
        list[Path] | None, typer.Option("--lock", metavar="FILE", help="Keep what this lock names, too. Repeatable.")
    ] = None,
    store: Store = None,
    config: Config = None,
) -> None:
    """Delete the least recently used models that no provisioned ComfyUI of this machine needs."""
    needed = {model.sha256 for file in lock or () for model in read_lock(file).models.values()}
    root = _root(load(config_path(config)), store)
    collected = ModelStore(root, _hashes(root)).collect(needed, _bytes(keep))
    words = f"{len(collected.deleted)} models deleted, {size(collected.freed)} freed, {size(collected.left)} left"
    out.print(f"{root}: {words}", markup=False, soft_wrap=True)


# --- reading ---


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidRequest("file_unreadable", f"cannot read {file}: {reason}") from None


def _root(settings: Settings, store: Path | None) -> Path:
    return store or settings.data_dir / "models"


def _hashes(root: Path) -> Hashes:
    return Hashes(root / "hashes.json")


def _rule(text: str) -> tuple[str, str]:
    prefix, _, place = text.partition("=")
    return prefix, place


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text)
    if not found:
        raise InvalidRequest("invalid_options", f"say a size such as 500GB or 0 for --keep, not {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


# --- looking ---


def _seen(source: str | None, manager_snapshot: Path | None, python: Path | None, hashes: Hashes) -> Observed:
    """What the lock shall be made of."""
    seen = _look(source, python, hashes, None) if source else None
    if manager_snapshot is None:
        if seen is None:
            raise InvalidRequest("invalid_options", "say what to lock: --from DIR|URL, --snapshot FILE, or both")
        return seen
    taken = snapshot.parse(_text(manager_snapshot), str(manager_snapshot))
    if seen:
        return snapshot.completed(taken, seen)
    return snapshot.with_python(taken, interpreter.look(python).python) if python else taken


def _look(place: str, python: Path | None, hashes: Hashes, wanted: Lock | None) -> Observed:
    names = None if wanted is None else wanted.models.keys()
    with _saying(f"looking at {place}") as say:
        if _is_url(place):
            return running.observe(place, names, lambda missing: err.print(f"{missing} models are still being read"))
        return observe.observe(Path(place), python, hashes, names, lambda name: say(f"reading model {name}"))


def _is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _interpreter(observed: Observed, source: str | None, python: Path | None) -> Path:
    """The one that pip looks for packages for: of the version, and on the kind of machine, that was seen."""
    if python is None and source and not _is_url(source):
        python = observe.environment_python(Path(source))
    return interpreter.find(str(observed.python), python)


def _summarise(pinned: Lock, observed: Observed, output: Path, allow_pickle: bool) -> None:
    for note in left_out(observed, allow_pickle=allow_pickle):
        complain(note)
    total = size(sum(model.bytes for model in pinned.models.values()))
    words = f"ComfyUI at {short(pinned.comfyui.commit)}, {len(pinned.node_packs)} node packs, Python {pinned.python}"
    words += f" with {len(pinned.packages)} packages, {len(pinned.models)} models ({total})"
    out.print(f"{output}: {words}\n{pinned.digest}", markup=False, soft_wrap=True)


# --- telling ---


@contextmanager
def _saying(words: str) -> Iterator[Callable[[str], None]]:
    """On a terminal, while it lasts; yields what says something else."""
    with err.status(escape(words)) if err.is_terminal else nullcontext() as status:
        yield lambda words: status.update(escape(words)) if status else None


class _Console:
    """A Reporter: lines of what was changed, and on a terminal what is being done and how far it is."""

    def __enter__(self) -> _Console:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.fields[amount]}"))
        self._progress = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
        self._task = self._progress.add_task("", total=None, amount="")
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, words: str) -> None:
        self._progress.update(self._task, description=escape(words), amount="")

    def done(self, words: str) -> None:
        err.print(words, markup=False, soft_wrap=True)

    def progress(self, name: str, done: int, total: int) -> None:
        amount = f"{size(done)} of {size(total)}"
        self._progress.update(self._task, description=f"fetching model {escape(name)}", amount=amount)
