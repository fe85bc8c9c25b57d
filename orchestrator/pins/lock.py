"""Lock: what a ComfyUI is made of, to the byte. Pure.

Commits, package hashes and models' SHA-256 say what it is; repositories and sources only say where to get that. So the
digest, under which a job is recorded to have run, leaves them out: moving to a mirror changes no environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import orjson
from blake3 import blake3

SCHEMA = 1
MAX_NAME_BYTES = 255  # of one part of a path, in every file system

SAFE_SUFFIXES = frozenset({
    ".safetensors", ".sft", ".gguf", ".onnx", ".tflite", ".json", ".yaml", ".yml", ".txt", ".model", ".vocab",
})  # fmt: skip
"""Files that hold weights or text, and that nobody loads by running what is in them."""

PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".pickle", ".joblib", ".npz", ".npy"})
"""Files that mostly are pickles: who loads one runs whatever it says."""

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SHA256 = re.compile(r"[0-9a-f]{64}")
PYTHON = re.compile(r"3\.\d{1,3}(\.\d{1,3}\w*)?")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")  # PEP 440, and what older packages made of it
PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")


@dataclass(frozen=True, slots=True)
class Checkout:
    """A git repository at a commit; the commit in full."""

    repo: str
    commit: str


@dataclass(frozen=True, slots=True)
class Package:
    """A Python package in one version; `sha256` of each archive of it that may be installed, in hex."""

    version: str
    sha256: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """The content of a model file, and where it can be had: https://, s3://, file:// or a path."""

    sha256: str
    bytes: int
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """Node packs by folder, packages by normalised name, models by "folder/name" as ComfyUI knows them.

    `python` is a whole version, or the beginning of one ("3.11") when any that begins so will do.
    """

    comfyui: Checkout
    python: str
    packages: Mapping[str, Package] = field(default_factory=dict[str, Package])
    node_packs: Mapping[str, Checkout] = field(default_factory=dict[str, Checkout])
    models: Mapping[str, Model] = field(default_factory=dict[str, Model])
    allow_pickle: bool = False

    @property
    def digest(self) -> str:
        """Two locks that make the same environment have the same one. "blake3:<hex>"."""
        content = {
            "schema": SCHEMA,
            "comfyui": self.comfyui.commit,
            "python": self.python,
            "packages": {name: [pin.version, *sorted(pin.sha256)] for name, pin in self.packages.items()},
            "node_packs": {name: pin.commit for name, pin in self.node_packs.items()},
            "models": {name: pin.sha256 for name, pin in self.models.items()},
            "allow_pickle": self.allow_pickle,
        }
        return f"blake3:{blake3(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()}"

    @property
    def sha256_of_models(self) -> dict[str, str]:
        """By "folder/name"."""
        return {name: model.sha256 for name, model in self.models.items()}


def normalised(package: str) -> str:
    """A package's name as all spellings of it compare."""
    return re.sub(r"[-_.]+", "-", package).lower()


def allows_python(pin: str, version: str) -> bool:
    """Whether the version is the pinned one, or begins with its parts: 3.11 allows 3.11.7 and not 3.110."""
    wanted = pin.split(".")
    return version.split(".")[: len(wanted)] == wanted


def fault_of_pack_name(name: str) -> str | None:
    """What keeps it from being a folder in custom_nodes, in words; None when nothing does."""
    if "/" in name:
        return "holds a /: say the name of a folder in custom_nodes"
    if name.endswith(".disabled") or name == "__pycache__":
        return "is a name that ComfyUI passes over"
    return _fault_of_part(name)


def fault_of_model_name(name: str) -> str | None:
    """What keeps it from being FOLDER/NAME below models, in words; None when nothing does."""
    parts = name.split("/")
    if len(parts) < 2:
        return "is not FOLDER/NAME, e.g. checkpoints/sd15.safetensors"
    return next((fault for fault in map(_fault_of_part, parts) if fault), None)


def fault_of_kind(name: str, *, allow_pickle: bool) -> str | None:
    """Why the policy keeps this model out, in words; None when it does not."""
    suffix = PurePosixPath(name).suffix.lower()
    if allow_pickle or suffix in SAFE_SUFFIXES:
        return None
    if suffix in PICKLE_SUFFIXES:
        return f"is a {suffix} file, which can run code when it is loaded: take it as .safetensors"
    return f"is a {suffix or 'suffixless'} file, which is not known to be safe to load: take it as .safetensors"


def _fault_of_part(part: str) -> str | None:
    if not part or part.startswith("."):
        return "has an empty part, or one that begins with a dot"
    if _UNSAFE.search(part):
        return "has a backslash, a control character or half a surrogate pair"
    if len(part.encode()) > MAX_NAME_BYTES:
        return f"has a part of more than {MAX_NAME_BYTES} bytes"
    return None
