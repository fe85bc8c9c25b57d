"""Which node classes exist: signatures recorded from each ComfyUI version, and one function of ours for each class.

A signature is what ComfyUI says of a class in /object_info, without its prose. Only the choices that depend on the
machine (model files, input images) are filled in here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, TypeVar

from orchestrator.simulator.comfyui.config import ModelFiles, SimConfig
from orchestrator.simulator.comfyui.files import Files

INPUT_IMAGES = "input images"
"""The choices of an input that names a file in input/."""


@dataclass(frozen=True)
class Shown:
    """What an output node returns: its outputs, and what it shows to the client."""

    outputs: tuple[object, ...]
    ui: Mapping[str, Sequence[object]]


NodeFunction = Callable[..., "tuple[object, ...] | Shown"]
"""Called with the Run, then the inputs by name."""

F = TypeVar("F", bound=NodeFunction)


@dataclass(frozen=True)
class Implementation:
    """What we do for a node class.

    choices: input -> model folder (or INPUT_IMAGES) whose files it offers.
    check: ComfyUI's VALIDATE_INPUTS; given Files and the inputs it names, True or what is wrong.
    fingerprint: ComfyUI's IS_CHANGED; given Files and the inputs, a value that differs when the result would.
    """

    function: NodeFunction
    choices: Mapping[str, str] = field(default_factory=dict[str, str])
    check: Callable[..., bool | str] | None = None
    checked: tuple[str, ...] = ()
    fingerprint: Callable[..., object] | None = None


IMPLEMENTATIONS: dict[str, Implementation] = {}


def node(
    *classes: str,
    choices: Mapping[str, str] | None = None,
    check: Callable[..., bool | str] | None = None,
    checked: tuple[str, ...] = (),
    fingerprint: Callable[..., object] | None = None,
) -> Callable[[F], F]:
    """Register a function as what the classes do; see Implementation for the rest."""

    def register(function: F) -> F:
        for name in classes:
            IMPLEMENTATIONS[name] = Implementation(function, choices or {}, check, checked, fingerprint)
        return function

    return register


InputSpec = tuple[Any, dict[str, Any]]
"""Type (a list of choices in ComfyUI's older form) and options."""


@dataclass(frozen=True)
class NodeClass:
    """A node class as one simulated ComfyUI has it."""

    name: str
    info: Mapping[str, Any]
    required: Mapping[str, InputSpec]
    optional: Mapping[str, InputSpec]
    hidden: Mapping[str, str]
    """Only of the older kind of class: the newer one does not count them among its inputs."""
    outputs: tuple[str, ...]
    is_output: bool
    implementation: Implementation


class NodeClasses(Mapping[str, NodeClass]):
    """The classes of one simulated ComfyUI, by name."""

    def __init__(self, config: SimConfig, files: Files) -> None:
        self._files = files
        self._config = config
        self.leave_out()

    def leave_out(self, classes: Collection[str] = (), models: Collection[str] = ()) -> None:
        """Have these classes, and models by FOLDER/FILE, not be there, and all others."""
        self._left_out = classes, models
        self._on_disk = self._config.model_files
        self._models: ModelFiles = {
            folder: {name: size for name, size in files.items() if f"{folder}/{name}" not in models}
            for folder, files in self._on_disk.items()
        }
        self._classes = {
            name: _build(name, info, IMPLEMENTATIONS[name], self._models)
            for name, info in {**_signatures(self._config.profile.version), **_signatures("custom")}.items()
            if name not in classes
        }

    @property
    def models(self) -> ModelFiles:
        self._look()
        return self._models

    def __getitem__(self, name: str) -> NodeClass:
        self._look()
        return self._classes[name]

    def __iter__(self):
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def _look(self) -> None:
        """ComfyUI looks at its folders of models whenever it is asked what it has."""
        if self._config.models_directory is not None and self._config.model_files != self._on_disk:
            self.leave_out(*self._left_out)

    def object_info(self, names: Sequence[str]) -> dict[str, Any]:
        """ComfyUI's answer for these classes, with the input images of this moment."""
        self._look()
        images = self._files.input_images()
        return {name: _described(self._classes[name], images) for name in names if name in self._classes}


@cache
def _signatures(version: str) -> Mapping[str, Mapping[str, Any]]:
    return json.loads(
        (resources.files("orchestrator.simulator.comfyui.nodes") / "signatures" / f"{version}.json").read_text()
    )


def _build(name: str, info: Mapping[str, Any], implementation: Implementation, models: ModelFiles) -> NodeClass:
    inputs = {
        group: {
            key: _with_models(spec, models.get(implementation.choices.get(key, ""), {})) for key, spec in specs.items()
        }
        for group, specs in info["input"].items()
        if group != "hidden"
    }
    hidden = {key: kind for key, kind in info["input"].get("hidden", {}).items() if isinstance(kind, str)}
    return NodeClass(
        name=name,
        info={**info, "input": {**info["input"], **inputs}},
        required={key: _parsed(spec) for key, spec in inputs.get("required", {}).items()},
        optional={key: _parsed(spec) for key, spec in inputs.get("optional", {}).items()},
        hidden=hidden,
        outputs=tuple(info["output"]),
        is_output=info["output_node"],
        implementation=implementation,
    )


def _parsed(spec: Sequence[Any]) -> InputSpec:
    return spec[0], spec[1] if len(spec) > 1 else {}


def _with_models(spec: list[Any], models: Mapping[str, int]) -> list[Any]:
    return _with_choices(spec, sorted(models)) if models else spec


def _described(node_class: NodeClass, images: list[str]) -> Mapping[str, Any]:
    """In no words, as prose is not recorded; but some clients take it for granted that there are some."""
    return {"description": "", **_with_images(node_class, images)}


def _with_images(node_class: NodeClass, images: list[str]) -> Mapping[str, Any]:
    """ComfyUI lists the directory anew for every answer."""
    mine = [key for key, source in node_class.implementation.choices.items() if source == INPUT_IMAGES]
    if not mine:
        return node_class.info
    required = dict(node_class.info["input"]["required"])
    for key in mine:
        required[key] = _with_choices(required[key], images)
    return {**node_class.info, "input": {**node_class.info["input"], "required": required}}


def _with_choices(spec: list[Any], choices: list[str]) -> list[Any]:
    """Put choices before those recorded, in either of ComfyUI's forms."""
    if isinstance(spec[0], list):
        return [choices + spec[0], *spec[1:]]
    return [spec[0], {**spec[1], "options": choices + spec[1]["options"]}]
